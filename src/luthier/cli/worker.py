"""`luthier worker`: runs a worker without a server, in a process of its own."""

from pathlib import Path
from typing import Any

import click

from luthier.cli.i18n import lang_option
from luthier.cli.logs import configure_logging
from luthier.cli.settings_flags import settings_from_flags
from luthier.cli.signals import stop_on_signals
from luthier.language import say


@click.command(
    help=say(
        "Run a worker on its own: it trains jobs and runs batches and evaluations of a data folder, whether or not a "
        "server is running there. Start the server with --no-worker to leave all of this work to workers. Settings "
        "such as LUTHIER_DEVICE are read from the environment, as by `luthier serve`.\n\n"
        "Example: luthier serve --no-worker, and in another terminal: luthier worker",
        "单独运行一个 worker：执行某个数据文件夹中的训练任务、批处理和评估，无论那里是否有服务器在运行。用 "
        "--no-worker 启动服务器，就把这些全部交给 worker。LUTHIER_DEVICE 等设置从环境变量读取，与 luthier serve "
        "相同。\n\n"
        "例子：luthier serve --no-worker，然后在另一个终端里：luthier worker",
    )
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help=say("The server's data folder.  [LUTHIER_DATA]", "数据文件夹，与服务器的相同。  [LUTHIER_DATA]"),
)
@click.option(
    "--launcher",
    metavar="VALUE",
    help=say(
        "Where trainers run: local for this machine, ray for a Ray cluster (docs/cluster.md).  [LUTHIER_LAUNCHER]",
        "训练进程在哪里运行：local 为本机，ray 为 Ray 集群（见 docs/cluster.md）。  [LUTHIER_LAUNCHER]",
    ),
)
@lang_option
def worker(**flags: Any) -> None:
    settings = settings_from_flags(flags)
    announce = configure_logging(settings.log_level, settings.log_format)
    with stop_on_signals() as stop:
        from luthier.runtime import LuthierWorker

        with LuthierWorker(settings) as running:
            announce(say("Working on ", "工作数据文件夹：") + str(running.data))
            announce(
                say("Press Ctrl-C to stop; jobs resume at the next start.",
                    "按 Ctrl-C 停止；任务在下次启动后从断点继续。")
            )  # fmt: skip
            stop.wait()
            announce(say("Stopping: the running job saves its state.", "正在停止：运行中的任务正在保存状态。"))
