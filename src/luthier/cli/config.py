"""`luthier config`: the path of the config file, and the settings in effect."""

from __future__ import annotations

from typing import Any

import click

from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import note, print_details, print_json
from luthier.language import say


@click.group(
    help=say(
        "Settings in a file: TOML, one `name = value` per setting (docs/config.md). Flags override environment "
        "variables, and both override the file.\n\nExample: luthier config path",
        "用文件保存设置：TOML 格式，每项设置一行 `名称 = 值`（见 docs/config.md）。"
        "命令行选项优先于环境变量，两者都优先于该文件。\n\n例子：luthier config path",
    )
)
def config() -> None:
    pass


@config.command(
    "path",
    help=say(
        "Print the path of the config file, whether or not it exists. LUTHIER_CONFIG sets another.\n\n"
        "Example: luthier config path",
        "打印配置文件的路径（文件不一定存在）。可用 LUTHIER_CONFIG 另行指定。\n\n例子：luthier config path",
    ),
)
@local_options
@pass_options
def path(options: Options) -> None:
    from luthier.types.plain_settings import config_path

    file = config_path()
    print_json({"path": str(file), "exists": file.is_file()}) if options.json else click.echo(file)


@config.command(
    "show",
    help=say(
        "Print the settings in effect, from the file and the environment; secrets are hidden.\n\n"
        "Example: luthier config show",
        "打印当前生效的设置（来自文件和环境变量）；密钥不显示。\n\n例子：luthier config show",
    ),
)
@click.option("--all", "show_all", is_flag=True, help=say("Include defaults.", "包括默认值。"))
@local_options
@pass_options
def show(options: Options, show_all: bool) -> None:
    from luthier.settings import Settings

    settings = Settings()
    values: dict[str, Any] = settings.model_dump(mode="json")
    if not show_all:
        values = {name: value for name, value in values.items() if name in settings.model_fields_set}
    if options.json:
        print_json(values)
    elif values:
        print_details(values)
    else:
        note(say("Nothing is set. To see the defaults: luthier config show --all",
                 "没有任何设置；查看默认值：luthier config show --all"))  # fmt: skip
