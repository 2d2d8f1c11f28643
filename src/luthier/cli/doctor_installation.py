"""The checks of `luthier doctor` for permissions, database, keys, kernels, open files, hub and clock.

They only read: nothing is created, and the database is opened without being migrated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from luthier.cli.doctor_finding import Finding
from luthier.cli.local import data_folder, local_catalogue
from luthier.cli.output import local_time
from luthier.language import say

if TYPE_CHECKING:
    from luthier.settings import Settings

_HUB_TIMEOUT_S = 3.0
_MAX_SKEW_S = 120.0  # well below the five minutes for which the signature of a webhook is valid
_LEAST_OPEN_FILES = 1024
_OTHERS = 0o077  # the permissions of group and others


def permissions(settings: Settings) -> Iterator[Finding]:
    """Whether this user can write to the data folder and its contents, and whether others can read it."""
    data = data_folder(settings)
    if not data.is_dir():
        return
    inside = [data, *data.glob("*")]
    closed = [path for path in inside if not os.access(path, os.W_OK)]
    if closed:
        names = ", ".join(str(path) for path in closed[:3])
        text = say(f"not writable by this user: {names}", f"当前用户不可写：{names}")
        hint = say("Run as the server's user, or change the owner of the folder: chown -R USER",
                   "请以运行服务器的用户执行，或改变文件夹的所有者：chown -R USER")  # fmt: skip
        yield Finding("permissions", "error", text, f"{hint} {data}")
    elif data.stat().st_mode & _OTHERS:
        text = say("other users of this machine can look into the data folder", "本机的其他用户可以查看数据文件夹")
        yield Finding("permissions", "warning", text, f"chmod 700 {data}")
    else:
        yield Finding(
            "permissions", "ok", say("only this user can access the data folder", "数据文件夹只有当前用户可以访问")
        )


def database(settings: Settings) -> Iterator[Finding]:
    """The schema version of the database, and whether the clock is behind its newest event."""
    from luthier.store.database_state import DatabaseState
    from luthier.types.errors import LuthierError

    url = settings.store_url()
    try:
        state = DatabaseState.of(data_folder(settings), url)
    except LuthierError as error:
        text = say(f"it cannot be read: {error}", f"无法读取：{error}")
        hint = say("Restore a backup: luthier restore BACKUP --data NEW_FOLDER",
                   "恢复备份：luthier restore 备份 --data 新文件夹")  # fmt: skip
        of_server = say(
            "Is the database server of the setting `store` running?", "设置 store 指定的数据库服务器是否在运行？"
        )
        yield Finding("database", "error", text, of_server if url else hint)
        return
    if state is None:
        yield Finding("database", "ok", say("none yet", "还没有"))
        return
    kind = "PostgreSQL" if url else "SQLite"
    text = say(f"{kind}, schema version {state.version}", f"{kind}，结构版本 {state.version}")
    if state.is_newer:
        hint = say("A later release wrote it: install that release, or restore a backup.",
                   "它由更新的版本写入：请安装该版本，或恢复备份。")  # fmt: skip
        yield Finding("database", "error", text, hint)
    elif state.is_older:
        hint = say("It is migrated when a server starts; back up first: luthier backup FOLDER",
                   "服务器启动时会迁移；请先备份：luthier backup 文件夹")  # fmt: skip
        yield Finding("database", "warning", text, hint)
    else:
        yield Finding("database", "ok", text)
    if state.newest_event and state.newest_event > time.time() + _MAX_SKEW_S:
        newest = local_time(state.newest_event)
        text = say(f"the newest event is from the future: {newest}", f"最新的事件来自未来：{newest}")
        yield Finding("clock", "error", text, _set_clock())


def keys(settings: Settings) -> Iterator[Finding]:
    """Whether requests need a key, and which keys expire soon."""
    from luthier.store.database_state import DatabaseState
    from luthier.types.errors import LuthierError

    try:
        state = DatabaseState.of(data_folder(settings), settings.store_url())
    except LuthierError:
        return  # the check of the database reports the error
    configured, managed = len(settings.api_keys), state.keys if state else 0
    if not configured and not managed:
        if settings.is_loopback():
            yield Finding("keys", "ok", say("none: this machine only", "无：仅限本机"))
            return
        text = say("none, but the server's address can be reached from other machines: the server will not start",
                   "无，而服务器的地址可从其他机器访问：服务器不会启动")  # fmt: skip
        yield Finding("keys", "error", text, "luthier keys create NAME")
        return
    text = say(f"{configured} in the settings, {managed} managed", f"设置中 {configured} 个，受管理的 {managed} 个")
    if state and state.expiring_keys:
        names = ", ".join(state.expiring_keys)
        text = say(f"{text}; these expire within two weeks: {names}", f"{text}；两周内到期：{names}")
        hint = say("Create new ones in time: luthier keys create NAME", "请及时创建新的：luthier keys create NAME")
        yield Finding("keys", "warning", text, hint)
    else:
        yield Finding("keys", "ok", text)


def kernels(settings: Settings) -> Iterator[Finding]:
    """How many kernels have been compiled."""
    folder = local_catalogue().cache / "kernels"
    count = len(list(folder.glob("*.so")))
    text = say(f"{count} compiled in {folder}", f"{folder} 中已编译 {count} 个")
    none = say("none yet: the first job compiles them, in seconds", "还没有：首个任务会在几秒内编译")
    yield Finding("kernels", "ok", text if count else none)


def open_files(settings: Settings) -> Iterator[Finding]:
    """The limit of open files; each connection and each file that is being read counts."""
    import resource

    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = say(f"at most {limit}", f"最多 {limit}")
    if 0 <= limit < _LEAST_OPEN_FILES:
        yield Finding("open files", "warning", text, f"ulimit -n {max(_LEAST_OPEN_FILES, most)}; LimitNOFILE=65536")
    else:
        yield Finding("open files", "ok", text)


def hub(settings: Settings) -> Iterator[Finding]:
    """Whether the hub can be reached, and how far the clock differs from the hub's."""
    import httpx

    from luthier.catalogue.hubs import open_client
    from luthier.types.errors import BaseModelError

    endpoint = "Hugging Face"
    try:
        with open_client(settings, "huggingface") as client:
            endpoint = str(client.base_url)
            response = client.head("/", timeout=_HUB_TIMEOUT_S)
    except (BaseModelError, httpx.HTTPError, httpx.InvalidURL) as error:
        text = say(f"{endpoint} cannot be reached: {error}", f"无法访问 {endpoint}：{error}")
        hint = say("Needed by `luthier models pull` only; LUTHIER_HUB_ENDPOINT names a mirror.",
                   "只有 `luthier models pull` 需要：可用 LUTHIER_HUB_ENDPOINT 指定镜像。")  # fmt: skip
        yield Finding("hub", "warning", text, hint)
        return
    yield Finding("hub", "ok", say(f"{endpoint} answers", f"{endpoint} 有响应"))
    if "date" in response.headers:
        yield from _clock(parsedate_to_datetime(response.headers["date"]).timestamp())


def _clock(reference: float) -> Iterator[Finding]:
    """Whether the clock agrees with `reference`, the time of another machine in Unix seconds."""
    skew_s = time.time() - reference
    text = say(f"{abs(skew_s):.0f} s from the hub's", f"与模型站点相差 {abs(skew_s):.0f} 秒")
    if abs(skew_s) > _MAX_SKEW_S:
        yield Finding("clock", "warning", text, _set_clock())
    else:
        yield Finding("clock", "ok", text)


def _set_clock() -> str:
    return say("Set the clock (timedatectl set-ntp true): leases, expiry and signatures depend on it.",
               "请校准时钟（timedatectl set-ntp true）：租约、到期时间和签名都依赖它。")  # fmt: skip
