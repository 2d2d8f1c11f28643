"""`luthier serve`: the server and its worker. Every setting is a flag."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from luthier import __version__
from luthier.cli.i18n import lang_option
from luthier.cli.logs import configure_logging
from luthier.cli.settings_flags import SettingsCommand, add_settings_flags, settings_from_flags
from luthier.cli.signals import stop_on_signals
from luthier.language import say
from luthier.settings import Settings


@click.command(
    cls=SettingsCommand,
    help=say(
        "Run the server: OpenAI's API under /v1 (files, fine-tuning, models, chat completions and more), and the "
        "worker that trains. Each flag is a setting that the environment variable in brackets can also set.\n\n"
        "Example: luthier serve --port 8000, then in another terminal: "
        "OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=luthier python your_code.py",
        "启动服务器：在 /v1 下提供 OpenAI 的 API（文件、微调、模型、对话等），并启动负责训练的 worker。"
        "每个选项都是一项设置，也可以用方括号中的环境变量给出。\n\n"
        "例子：luthier serve --port 8000，然后在另一个终端里："
        "OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=luthier python your_code.py",
    ),
)
@click.option(
    "--no-worker",
    is_flag=True,
    help=say("Same as --worker false; `luthier worker` then trains.", "同 --worker false；由 luthier worker 训练。"),
)
@lang_option
def serve(no_worker: bool, **flags: Any) -> None:
    settings = settings_from_flags({**flags, "worker": "false"} if no_worker else flags)
    announce = configure_logging(settings.log_level, settings.log_format)
    with stop_on_signals() as stop:
        _serve(settings, stop, announce)


def _serve(settings: Settings, stop: threading.Event, announce: Callable[[str], None]) -> None:
    from luthier.runtime import LuthierServer

    with LuthierServer(settings, report=announce) as server:
        for line in _first_lines(server.endpoint.base_url, server.data, server.base, settings):
            announce(line)
        stop.wait()
        announce(say("Stopping; a running job will save its state.", "正在停止；运行中的任务会保存状态。"))


def _first_lines(address: str, data: Path, base: str, settings: Settings) -> Iterator[str]:
    """The first lines of output: version, addresses, data folder, model names, and API keys."""
    yield f"Luthier {__version__}"
    yield say("Luthier is listening on ", "Luthier 服务地址：") + address
    yield say("Dashboard: ", "仪表板：") + address.removesuffix("v1")
    yield say("Data folder: ", "数据文件夹：") + str(data)
    yield say(f"OpenAI's model names stand for {base}; engine: {_engine(settings)}",
              f"OpenAI 的模型名称代表 {base}；推理引擎：{_engine(settings)}")  # fmt: skip
    if settings.aliases:
        names = [f"{name} → {target}" for name, target in sorted(settings.aliases.items())]
        yield say("More names: " + ", ".join(names), "其他名称：" + "，".join(names))
    yield _keys(settings)
    if not settings.worker:
        yield say("No worker: jobs wait for `luthier worker`.", "没有 worker：任务等待 `luthier worker` 执行。")
    yield say("Press Ctrl-C to stop; jobs resume at the next start.",
              "按 Ctrl-C 停止；未完成的任务在下次启动后从断点继续。")  # fmt: skip


def _engine(settings: Settings) -> str:
    """The engine for the first lines. `auto` is resolved, and logged, only when weights are loaded with torch."""
    if settings.engine != "auto":
        return settings.engine
    return say("auto (selected on first use; see: luthier doctor)", "auto（首次使用时选定，见：luthier doctor）")


def _keys(settings: Settings) -> str:
    projects = sorted({project for project in settings.keys().values() if project})
    if not settings.api_keys:
        return say("API keys: none, this machine only", "API 密钥：未设置，仅限本机访问")
    count = len(settings.api_keys)
    text = say(f"API keys: {count}", f"API 密钥：{count} 个")
    return text + (say("; projects: ", "；项目：") + ", ".join(projects) if projects else "")


add_settings_flags(serve)
