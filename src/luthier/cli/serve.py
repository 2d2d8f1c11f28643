"""`luthier serve`: the server and its worker. Every setting is a flag."""

import logging
import threading
from typing import Any

import click

from luthier.cli.i18n import lang_option
from luthier.cli.settings_flags import SettingsCommand, add_settings_flags, settings_from_flags
from luthier.cli.signals import stop_on_signals
from luthier.language import current, say
from luthier.settings import Settings


@click.command(
    cls=SettingsCommand,
    help=say(
        "Run the server: OpenAI's API under /v1 (files, fine-tuning, models, chat completions and more), and the "
        "worker that trains. Each flag is a setting, which the environment variable in brackets sets too.\n\n"
        "Example: luthier serve --port 8000, then in another terminal: "
        "OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=luthier python your_code.py",
        "启动服务器：在 /v1 下提供 OpenAI 的 API（文件、微调、模型、对话等），并启动负责训练的工作进程。"
        "每个选项都是一项设置，也可以用方括号中的环境变量给出。\n\n"
        "例子：luthier serve --port 8000，然后在另一个终端里："
        "OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=luthier python your_code.py",
    ),
)
@click.option(
    "--no-worker",
    is_flag=True,
    help=say("Same as --worker false; train with `luthier worker`.", "同 --worker false；由 luthier worker 训练。"),
)
@lang_option
def serve(no_worker: bool, **flags: Any) -> None:
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("luthier").setLevel(logging.INFO)  # such as the engine of a base model, and the reason
    settings = settings_from_flags({**flags, "worker": "false"} if no_worker else flags)
    with stop_on_signals() as stop:
        _serve(settings, stop)


def _serve(settings: Settings, stop: threading.Event) -> None:
    from luthier.runtime import LuthierServer

    with LuthierServer(settings, report=lambda text: click.echo(text, err=True)) as server:
        click.echo(say("Luthier is listening on ", "Luthier 服务地址：") + server.endpoint.base_url, err=True)
        click.echo(say("Data folder: ", "数据文件夹：") + str(server.data), err=True)
        click.echo(_names(server.base, settings), err=True)
        click.echo(
            say(
                "Press Ctrl-C to stop; jobs resume at the next start.",
                "按 Ctrl-C 停止；未完成的任务在下次启动后从断点继续。",
            ),
            err=True,
        )
        stop.wait()
        click.echo(say("Stopping; a running job saves its state.", "正在停止；运行中的任务会保存状态。"), err=True)


def _names(base: str, settings: Settings) -> str:
    """The model behind OpenAI's names, and the aliases."""
    aliases = "".join(f", {name} → {target}" for name, target in sorted(settings.aliases.items()))
    text = say(f"OpenAI's model names stand for {base}", f"OpenAI 的模型名称代表 {base}")
    return text + (aliases if current() == "en" else aliases.replace(", ", "，"))


add_settings_flags(serve)
