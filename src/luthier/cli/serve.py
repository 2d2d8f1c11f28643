"""`luthier serve`: the server and its worker. Its flags are the settings, one each."""

import logging
import signal
import sys
import threading
from types import FrameType
from typing import Any

import click
from pydantic import ValidationError

from luthier.language import say
from luthier.settings import Settings


def _options(command: click.Command) -> click.Command:
    """A flag for every field of the settings, with its description and variable."""
    for name, field in Settings.model_fields.items():
        flag, variable = "--" + name.replace("_", "-"), f"LUTHIER_{name.upper()}"
        command.params.append(
            click.Option([flag], metavar="VALUE", help=f"{field.description}  [{variable}]", show_default=False)
        )
    return command


@click.command(short_help="Run the server: OpenAI's API on this machine.")
@click.pass_context
def serve(context: click.Context, /, **given: Any) -> None:
    """Run the server: OpenAI's files, fine-tuning, models and chat completions under /v1.

    \b
    Example:
      luthier serve --port 8000
      export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=any
      python your_fine_tuning_code.py
    """
    from luthier.cli.embedded import Running

    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)
    settings = read_settings(context, {name: value for name, value in given.items() if value is not None})
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.exit(130)  # asked twice: do not wait
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    with Running(settings, report=lambda text: click.echo(text, err=True)) as running:
        click.echo(say("Luthier serves", "Luthier 服务地址：") + f" {running.endpoint.base_url}", err=True)
        click.echo(say("State is kept in", "状态保存在") + f" {settings.data}", err=True)
        click.echo(
            say("Press Ctrl-C to stop; jobs go on where they were.", "按 Ctrl-C 停止，任务下次从原处继续。"), err=True
        )
        stop.wait()
        click.echo(say("Stopping: the running job saves its state.", "正在停止：运行中的任务正在保存状态。"), err=True)


_options(serve)


def read_settings(context: click.Context, given: dict[str, Any]) -> Settings:
    """Settings from flags and variables; what is wrong is said by flag and variable."""
    try:
        settings = Settings(**{name: _parsed(name, value) for name, value in given.items()})
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            click.echo(f"--{name.replace('_', '-')} / LUTHIER_{name.upper()}: {problem['msg']}", err=True)
        context.exit(2)
    return settings


def _parsed(name: str, value: str) -> Any:
    """Flags are text; a table such as --aliases is written as JSON."""
    if name != "aliases":
        return value
    import json

    try:
        return json.loads(value)
    except ValueError:
        return value  # refused by the settings, which say what is expected
