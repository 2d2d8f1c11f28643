"""`luthier migrate switch`: moves an old model's name to its successor here, or back to the old service."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli.alias import read_aliases, write_aliases
from luthier.cli.errors import CliError
from luthier.cli.local import local_catalogue, open_store, settings_of
from luthier.cli.options import Options, data_options, pass_options
from luthier.cli.output import note, print_json
from luthier.language import say
from luthier.types.aliases import AliasTarget, parse_target, write_target


@click.command(
    short_help=say("Let a successor answer under an old name, or undo this.", "让后继以旧名称回答，或撤销。"),
    help=say(
        "Let the successor NEW answer requests for the name OLD, which programs can keep using. With --share, the old "
        "service answers the other requests until the old model is gone. --back returns the name to the old service; "
        "NEW takes over once the old model is gone. The alias is stored in the config file, which servers read when "
        "they start.\n\n"
        "Example: luthier migrate switch ft:OLD ft:NEW --share 0.1\n\n"
        "Example: luthier migrate switch ft:OLD ft:NEW\n\n"
        "Example: luthier migrate switch ft:OLD --back",
        "让后继模型 NEW 以 OLD 的名字回答，程序继续使用这个名字。加 --share 时其余请求由原来的服务回答；"
        "旧模型关闭后全部由 NEW 回答。--back 把名字交还给原来的服务；旧模型关闭后仍由 NEW 回答。"
        "设置保存在配置文件中，服务器启动时读取。\n\n"
        "例子：luthier migrate switch ft:OLD ft:NEW --share 0.1\n\n"
        "例子：luthier migrate switch ft:OLD ft:NEW\n\n"
        "例子：luthier migrate switch ft:OLD --back",
    ),
)
@click.argument("old")
@click.argument("new", required=False)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="X",
    help=say("The share of requests that NEW answers, such as 0.1.", "由 NEW 回答的请求比例，例如 0.1。"),
)
@click.option("--back", is_flag=True, help=say("Return the name to the old service.", "把名称交还给原来的服务。"))
@click.option("--project", metavar="ID", help=say("Only for this project here.", "只用于此处的这个项目。"))
@data_options
@pass_options
def switch(options: Options, old: str, new: str | None, share: float | None, back: bool, project: str | None) -> None:
    from luthier.settings import Settings

    _check_words(new, share, back=back)
    aliases = read_aliases()
    name = f"{project}={old}" if project else old
    before = aliases.get(name)
    earlier = parse_target(old, before) if before else AliasTarget(old)
    target = (
        AliasTarget(earlier.upstream_model or old, earlier.local)
        if back
        else _successor(options, earlier, old, new, share)
    )
    text = write_target(target)
    settings = Settings(aliases={name: text})  # raises for a name that cannot be an alias
    write_aliases({**aliases, name: text})
    if options.json:
        print_json({"name": name, "before": before, "target": text})
    else:
        note(f"{name} → {text}")
        note(say("Servers read it at their next start.", "服务器下次启动时生效。"), "dim")
    if target.upstream_model and not settings.upstream_base_url:
        note(
            say(
                "Set LUTHIER_UPSTREAM_BASE_URL and LUTHIER_UPSTREAM_API_KEY for the server, so that it can reach the "
                "old service.",
                "请为服务器设置 LUTHIER_UPSTREAM_BASE_URL 和 LUTHIER_UPSTREAM_API_KEY，它才能访问原来的服务。",
            ),
            "yellow",
        )


def _check_words(new: str | None, share: float | None, *, back: bool) -> None:
    if back and (new or share is not None):
        raise click.UsageError(
            say("--back cannot be combined with NEW or --share.", "--back 不能与 NEW 或 --share 同用。")
        )
    if not back and not new:
        raise click.UsageError(say("Give the successor NEW, or pass --back.", "请给出后继 NEW，或加 --back。"))


def _successor(options: Options, earlier: AliasTarget, old: str, new: str | None, share: float | None) -> AliasTarget:
    """The alias with which `new` answers for `old`. Raises CliError if there is no such model here."""
    if not _is_here(options, str(new)):
        raise CliError(
            say(f"There is no model {new} here.", f"这里没有模型 {new}。"),
            say("See: luthier models list. --data sets the data folder of a fine-tuned model.",
                "请看：luthier models list。--data 指定微调模型所在的数据文件夹。"),
        )  # fmt: skip
    return AliasTarget(earlier.upstream_model or old, new, share) if share is not None else AliasTarget(local=new)


def _is_here(options: Options, model: str) -> bool:
    """Whether `model` is a fine-tuned model in the data folder, a base model, or the folder of one."""
    if not model.startswith("ft:"):
        return Path(model).is_dir() or model in local_catalogue()
    store = open_store(settings_of(options))
    try:
        return store.models.find(model) is not None
    finally:
        store.close()
