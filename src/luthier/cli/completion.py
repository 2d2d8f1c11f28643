"""`luthier completion`: the script with which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class

from luthier.cli.i18n import lang_option
from luthier.language import say

_PROGRAM, _VARIABLE = "luthier", "_LUTHIER_COMPLETE"


@click.command(
    help=say(
        "Print a script that completes commands and options in SHELL.\n\n"
        "Examples: luthier completion bash >> ~/.bashrc, luthier completion zsh >> ~/.zshrc, "
        "luthier completion fish > ~/.config/fish/completions/luthier.fish",
        "打印让 SHELL 自动补全命令和选项的脚本。\n\n"
        "例子：luthier completion bash >> ~/.bashrc、luthier completion zsh >> ~/.zshrc、"
        "luthier completion fish > ~/.config/fish/completions/luthier.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@lang_option
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click supports every shell of the choices
    click.echo(script(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())
