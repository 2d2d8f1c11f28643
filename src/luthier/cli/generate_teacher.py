"""Checks which model answers under a teacher's name, since an alias may give a large model's name to a small one."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from luthier.cli.errors import CliError
from luthier.cli.output import note
from luthier.language import say

if TYPE_CHECKING:
    from luthier.cli.client import Connection

_SMALL = 1_000_000_000  # parameters; smaller models do not follow instructions well enough to write data
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*([mb])(?![a-z0-9])", re.IGNORECASE)


def parameter_count(name: str) -> float | None:
    """The number of parameters in a base model's name (135m, 0.6B); None if the name has none."""
    match = _SIZE.search(name.replace("_", "-"))
    return float(match[1]) * (1e6 if match[2].lower() == "m" else 1e9) if match else None


def confirm_teacher(connection: Connection, flag: str, model: str, *, yes: bool) -> None:
    """Prints what serves the model, and asks for confirmation if a small model of this server has taken its name.

    Raises:
        CliError: Confirmation is needed, and stdin is not a terminal.
        click.Abort: The user declined.
    """
    import openai

    try:
        details = connection.client.models.retrieve(model)
    except openai.APIStatusError:
        return  # the service lists no models
    base = str(getattr(details, "root", None) or model)
    is_elsewhere = details.owned_by in ("upstream", "openai")
    _print_origin(connection, flag, model, say("the upstream service", "上游服务") if is_elsewhere else base)
    count = parameter_count(base)
    is_itself = base == model or model.startswith("ft:")
    if yes or is_elsewhere or is_itself or count is None or count >= _SMALL:
        return
    size = f"{count / 1e6:g}M"
    problem = say(
        f"On this server, {model} is not the model of that name: {base} ({size} parameters) answers for it, which is "
        "too small to write training data.",
        f"{model} 在这里不是同名的那个模型：本服务器用 {base}（{size} 参数）来回答，它太小，写不出可用的训练数据。",
    )
    if not sys.stdin.isatty():
        raise CliError(
            problem,
            say(
                f"Pass --base-url and --api-key of a service with a capable model, another {flag}, or --yes to use it "
                "anyway.",
                f"请用 --base-url 和 --api-key 指定有强模型的服务，换一个 {flag}，或加 --yes 仍然使用它。",
            ),
        )
    click.confirm(say(f"{problem} Use it anyway?", f"{problem}仍然使用？"), abort=True, err=True)


def _print_origin(connection: Connection, flag: str, model: str, origin: str) -> None:
    role = say("Teacher", "教师模型") if flag == "--teacher" else say("Judge", "评审模型")
    served = "" if origin == model else say(f", served by {origin}", f"，来自 {origin}")
    note(say(f"{role}: {model}{served} ({connection.address})", f"{role}：{model}{served}（{connection.address}）"))
