"""`luthier keys`: the API keys that a server manages. `luthier audit`: who changed what on it."""

from __future__ import annotations

import re
from typing import Any

import click

from luthier.cli.client import call
from luthier.cli.options import Options, option, pass_options, server_options
from luthier.cli.output import format_bytes, local_time, note, print_json, print_table
from luthier.language import say

_UNITS_BYTES = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS_S = {"m": 60, "h": 3600, "d": 24 * 3600}
_STATUSES = {"active": ("active", "有效"), "expired": ("expired", "已过期"), "revoked": ("revoked", "已吊销")}
_ROLES = {"admin": ("admin", "管理员"), "member": ("member", "成员"), "reader": ("reader", "只读")}


class Lifetime(click.ParamType[int]):
    """Option type: a duration such as 90d, 12h or 30m, converted to seconds."""

    name = "lifetime"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d{0,4})([mhd])", str(value))
        if match is None:
            self.fail(say(f"'{value}' is not a duration such as 90d, 12h or 30m.",
                          f"“{value}” 不是 90d、12h、30m 这样的时长。"), param, ctx)  # fmt: skip
        return int(match[1]) * _UNITS_S[match[2]]


class Size(click.ParamType[int]):
    """Option type: a size such as 500MB or 20GB, converted to bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d{0,14})([KMGT]?)B?", str(value).upper())
        if match is None:
            self.fail(say(f"'{value}' is not a size such as 500MB or 20GB.",
                          f"“{value}” 不是 500MB、20GB 这样的大小。"), param, ctx)  # fmt: skip
        return int(match[1]) * _UNITS_BYTES[match[2]]


@click.group(
    invoke_without_command=True,
    help=say(
        "API keys that the server manages, with roles, projects, limits and expiry. Only their hashes are stored.\n\n"
        "Example: luthier keys create weather-team --project proj_weather --expires 90d",
        "服务器管理的 API 密钥：角色、项目、限额、有效期。只保存其哈希值。\n\n"
        "例子：luthier keys create weather-team --project proj_weather --expires 90d",
    ),
)
@server_options
@click.pass_context
def keys(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys)


@keys.command(
    "create",
    help=say(
        "Create a key and print it; it is shown only once. As soon as a key exists, every request needs one.\n\n"
        "Example: luthier keys create ci --role member --requests-per-minute 60",
        "创建密钥并显示，只显示这一次。只要有了密钥，每个请求就都需要密钥。\n\n"
        "例子：luthier keys create ci --role member --requests-per-minute 60",
    ),
)
@click.argument("name")
@option("--project", "Project that the key is bound to; default: the whole organization.",
        "密钥所属的项目；默认为整个组织。", metavar="PROJECT")  # fmt: skip
@option("--role", "admin can also manage keys; reader cannot change or generate anything.",
        "admin 还能管理密钥；reader 不能修改或生成任何内容。",
        type=click.Choice(list(_ROLES)), default="member")  # fmt: skip
@option("--expires", "Lifetime such as 90d, 12h or 30m; default: none.", "有效期，如 90d、12h、30m；默认不过期。",
        type=Lifetime(), metavar="TIME")  # fmt: skip
@option(
    "--requests-per-minute",
    "Requests per minute of this key.",
    "此密钥的每分钟请求数上限。",
    type=click.IntRange(min=1),
)
@option(
    "--tokens-per-minute", "Tokens per minute of this key.", "此密钥的每分钟 token 数上限。", type=click.IntRange(min=1)
)
@option("--max-jobs", "Limit of unfinished jobs of this key at a time.", "此密钥同时未完成的任务数上限。",
        type=click.IntRange(min=1))  # fmt: skip
@option("--max-bytes", "Limit of the total size of files that this key has uploaded, such as 500MB or 20GB.",
        "此密钥已上传文件的总大小上限，如 500MB、20GB。", type=Size(), metavar="SIZE")  # fmt: skip
@server_options
@pass_options
def create(
    options: Options, /, name: str, project: str | None, role: str, expires: int | None, **limits: int | None
) -> None:
    body = {"name": name, "project": project, "role": role, "expires_in_s": expires, **limits}
    created = call(options, "post", "/luthier/keys", body)
    _print_secret(options, created)
    if created["is_first"]:
        note(
            say(
                "This is the first key that the server manages. If the server was started without keys, from now on "
                "it answers only requests with a key: clients that send none get status 401. Create a key for each "
                "client (luthier keys create NAME); to open the server again, revoke every key. Commands on the "
                "server's own machine need no key.",
                "这是服务器管理的第一个密钥。如果服务器启动时没有设置密钥，从现在起它只应答带密钥的请求："
                "不带密钥的客户端会收到状态 401。请为每个客户端创建密钥（luthier keys create 名称）；"
                "要重新开放服务器，请吊销所有密钥。在服务器本机运行的命令不需要密钥。",
            ),
            "yellow",
        )


@keys.command(
    "list",
    help=say(
        "List keys, newest first.\n\nExample: luthier keys list", "列出密钥，新的在前。\n\n例子：luthier keys list"
    ),
)
@server_options
@pass_options
def list_keys(options: Options) -> None:
    listed = call(options, "get", "/luthier/keys?limit=1000")["data"]
    if options.json:
        print_json(listed)
        return
    columns = (say("id", "编号"), say("name", "名称"), say("key", "密钥"), say("project", "项目"), say("role", "角色"),
               say("status", "状态"), say("expires", "到期"), say("limits", "限额"))  # fmt: skip
    rows = [
        (
            key["id"],
            key["name"],
            f"…{key['hint']}",
            key["project"] or say("all", "全部"),
            say(*_ROLES[key["role"]]),
            say(*_STATUSES[key["status"]]),
            local_time(key["expires_at"]) if key["expires_at"] else say("never", "不过期"),
            _limits(key),
        )
        for key in listed
    ]
    empty = say("No managed keys yet: luthier keys create NAME", "还没有受管理的密钥：luthier keys create NAME")
    print_table(columns, rows, empty=empty)


def _limits(key: dict[str, Any]) -> str:
    """A key's own limits as text; empty if it has none."""
    texts = [
        (key["requests_per_minute"], say("requests/min", "次请求/分钟")),
        (key["tokens_per_minute"], say("tokens/min", "token/分钟")),
        (key["max_jobs"], say("jobs", "个任务")),
    ]
    limits = [f"{limit:,} {text}" for limit, text in texts if limit]
    return ", ".join([*limits, *([format_bytes(key["max_bytes"])] if key["max_bytes"] else [])])


@keys.command(
    "rotate",
    help=say(
        "Give a key a new secret and print it; the old one stops working immediately.\n\nExample: luthier keys rotate "
        "key_abc123",
        "更换密钥的内容并显示；旧的立即失效。\n\n例子：luthier keys rotate key_abc123",
    ),
)
@click.argument("key_id")
@server_options
@pass_options
def rotate(options: Options, key_id: str) -> None:
    _print_secret(options, call(options, "post", f"/luthier/keys/{key_id}/rotate"))


@keys.command(
    "revoke",
    help=say("Revoke a key immediately and permanently.\n\nExample: luthier keys revoke key_abc123",
             "立即永久吊销密钥。\n\n例子：luthier keys revoke key_abc123"),
)  # fmt: skip
@click.argument("key_id")
@server_options
@pass_options
def revoke(options: Options, key_id: str) -> None:
    revoked = call(options, "delete", f"/luthier/keys/{key_id}")
    if options.json:
        print_json(revoked)
    else:
        note(say(f"Revoked {revoked['name']} ({key_id}).", f"已吊销 {revoked['name']}（{key_id}）。"))
    if revoked["is_last"]:
        note(
            say(
                "This was the last key that the server manages. If the server was started without keys and only its "
                "own machine can reach it, from now on every program there can use it without a key, as an admin. To "
                "close it, create a key: luthier keys create NAME",
                "这是服务器管理的最后一个密钥。如果服务器启动时没有设置密钥，并且只有本机能访问，"
                "从现在起本机上的任何程序都可以不带密钥、以管理员身份使用它。"
                "要关闭，请创建密钥：luthier keys create 名称",
            ),
            "yellow",
        )


@click.command(
    help=say(
        "Show who changed what, newest first: one line per request that changed something.\n\n"
        "Example: luthier audit --limit 20",
        "谁修改了什么，新的在前：每个有修改的请求一行。\n\n例子：luthier audit --limit 20",
    )
)
@option("--limit", "Number of entries.", "条数。", type=click.IntRange(1, 1000), default=50)
@server_options
@pass_options
def audit(options: Options, limit: int) -> None:
    entries = call(options, "get", f"/luthier/audit?limit={limit}")["data"]
    if options.json:
        print_json(entries)
        return
    columns = (say("time", "时间"), say("key", "密钥"), say("project", "项目"), say("client", "来源"),
               say("action", "操作"), say("request", "请求"))  # fmt: skip
    rows = [
        (
            local_time(entry["created_at"]),
            entry["key_id"] or "–",
            entry["project"] or say("all", "全部"),
            entry["client"],
            f"{entry['action'].partition(' ')[0]} {entry['path']}",
            entry["request_id"],
        )
        for entry in entries
    ]
    print_table(columns, rows, empty=say("Nothing has been changed yet.", "还没有任何修改。"))


def _print_secret(options: Options, key: dict[str, Any]) -> None:
    """Prints only the key to stdout, so that a script can capture it, and the notice to stderr."""
    if options.json:
        print_json(key)
        return
    click.echo(key["value"])
    note(say(f"This is the only time that {key['name']} ({key['id']}) is shown.",
             f"{key['name']}（{key['id']}）只显示这一次。"))  # fmt: skip
