"""`luthier doctor`: checks this machine and installation.

A check is a function from `Settings` to `Finding`s, listed in `CHECKS`. Checks change nothing and need no server.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from luthier.cli.click_texts import cell_width
from luthier.cli.doctor_finding import Finding
from luthier.cli.doctor_installation import (
    database,
    hub,
    kernels,
    keys,
    open_files,
    permissions,
)
from luthier.cli.local import data_folder, default_base, local_catalogue, open_store, settings_of
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import format_bytes, print_json, spinner, stdout_console
from luthier.language import say
from luthier.types.errors import LuthierError

if TYPE_CHECKING:
    from luthier.native.dtype_choice import DtypeChoice
    from luthier.settings import Settings

_FEATURES = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile"),
    *("asimd", "bf16", "sve"),
)
_LEAST_DISK, _LEAST_MEMORY = 2 * 1024**3, 2 * 1024**3
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}

_CHINESE_NAMES = {
    "version": "版本",
    "cpu": "CPU",
    "config": "配置",
    "environment": "环境变量",
    "memory": "内存",
    "data": "数据文件夹",
    "cache": "缓存文件夹",
    "port": "端口",
    "compiler": "编译器",
    "base": "基座模型",
    "hardware": "硬件",
    "contents": "内容",
    "open files": "打开文件数",
    "permissions": "权限",
    "database": "数据库",
    "keys": "密钥",
    "kernels": "内核",
    "hub": "模型站点",
    "clock": "时钟",
    "engine": "推理引擎",
}


def _version(settings: Settings) -> Iterator[Finding]:
    versions = f"Luthier {importlib.metadata.version('luthier')}, Python {platform.python_version()}"
    yield Finding("version", "ok", f"{versions}, {platform.system()} {platform.machine()}")


def _config(settings: Settings) -> Iterator[Finding]:
    from luthier.cli.logs import unknown_variables
    from luthier.types.plain_settings import config_path

    path = config_path()
    names = ", ".join(sorted(settings.model_fields_set)) or "–"
    with_file = say(f"{path}, settings: {names}", f"{path}，设置：{names}")
    without_file = say(f"none at {path}; settings: {names}", f"{path} 不存在；设置：{names}")
    yield Finding("config", "ok", with_file if path.is_file() else without_file)
    for warning in unknown_variables():
        names_are_in = say("The names are in `luthier serve --help`.", "变量名见 `luthier serve --help`。")
        yield Finding("environment", "warning", warning, names_are_in)


def _cpu(settings: Settings) -> Iterator[Finding]:
    from luthier.hardware import cpu_features, cpu_tier

    available = cpu_features()
    features = " ".join(name for name in _FEATURES if name in available) or "–"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "cpu",
        "ok",
        say(f"{cores} cores, {cpu_tier()}; features: {features}", f"{cores} 核，{cpu_tier()}；指令集：{features}"),
    )


def _memory(settings: Settings) -> Iterator[Finding]:
    from luthier.hardware import available_memory

    try:
        free, total = available_memory(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return
    text = say(
        f"{format_bytes(free)} of {format_bytes(total)} free", f"可用 {format_bytes(free)}，共 {format_bytes(total)}"
    )
    remedy = say("Training the bundled base needs about 2 GiB.", "训练自带的基座模型约需 2 GiB。")
    yield Finding("memory", "ok", text) if free >= _LEAST_MEMORY else Finding("memory", "warning", text, remedy)


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("data", data_folder(settings)), ("cache", local_catalogue().cache)):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK):
            text = say(f"{folder} is not writable", f"{folder} 不可写")
            yield Finding(name, "error", text, say(f"Choose another with --{name}.", f"用 --{name} 另选一个。"))
            continue
        free = shutil.disk_usage(existing).free
        text = say(f"{folder}, {format_bytes(free)} free", f"{folder}，可用 {format_bytes(free)}")
        remedy = say("Checkpoints and base models may not fit.", "检查点和基座模型可能放不下。")
        yield Finding(name, "ok", text) if free >= _LEAST_DISK else Finding(name, "warning", text, remedy)


def _port(settings: Settings) -> Iterator[Finding]:
    host, port = settings.host, settings.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            text = say(f"{host}:{port} cannot be used: {error.strerror}", f"{host}:{port} 不可用：{error.strerror}")
            hint = say(
                "A server may be running there; otherwise choose another port with --port.",
                "可能已有服务器在该端口运行；否则换一个：--port",
            )
            yield Finding("port", "warning", text, hint)
            return
    yield Finding("port", "ok", say(f"{host}:{port} is free", f"{host}:{port} 可用"))


def _compiler(settings: Settings) -> Iterator[Finding]:
    from luthier.native import PREBUILT

    if PREBUILT.is_dir():
        text = say("not needed: the package has compiled kernels", "不需要：安装包带有编译好的内核")
        yield Finding("compiler", "ok", text)
        return
    compiler = next((path for name in ("g++", "clang++") if (path := shutil.which(name))), None)
    if compiler:
        yield Finding("compiler", "ok", compiler)
        return
    remedy = say(
        "Without one, training and serving take up to twice as long: install g++.",
        "没有它，训练和推理的时间最多会加倍：请安装 g++。",
    )
    yield Finding("compiler", "warning", say("no g++ or clang++", "没有 g++ 或 clang++"), remedy)


def _base_model(settings: Settings) -> Iterator[Finding]:
    catalogue, base = local_catalogue(), default_base()
    if base not in catalogue:
        text = say(f"there is no base model {base}", f"没有基座模型 {base}")
        yield Finding("base", "error", text, say("See: luthier models list", "请看：luthier models list"))
    elif not catalogue.ready(base):
        text = say(f"{base} has not been downloaded yet", f"本机还没有 {base}")
        yield Finding("base", "warning", text, say("Fetch it: luthier models pull", "获取：luthier models pull"))
    else:
        yield Finding("base", "ok", f"{base}, {catalogue.folder(base)}")


def _engine(settings: Settings) -> Iterator[Finding]:
    """The device, dtype and engine that `auto` selects, and why. May import torch."""
    from luthier.hardware import compute_threads
    from luthier.inference.options import EngineOptions
    from luthier.inference.registry import select_engine
    from luthier.native.dtype_choice import known_dtype
    from luthier.worker.trainer_hardware import TrainerHardware

    catalogue, base = local_catalogue(), default_base()
    folder = catalogue.folder(base) if base in catalogue and catalogue.ready(base) else None
    trainer = TrainerHardware.of(settings)
    choice = known_dtype(folder, trainer.device, trainer.dtype, catalogue.cache)
    threads = trainer.threads or compute_threads()
    en, zh = f"device {choice.device}, {threads} threads, ", f"设备 {choice.device}，{threads} 个线程，"
    yield Finding("hardware", "ok", say(f"for training: {en}", f"训练：{zh}") + _dtype(choice))
    if folder is None:
        return
    options = EngineOptions(
        engine=settings.engine, device=trainer.device, precision=trainer.dtype, cache=catalogue.cache
    )
    try:
        selection = select_engine(folder, options)
    except LuthierError as error:
        yield Finding("engine", "error", str(error))
        return
    yield Finding(
        "engine", "ok", say(f"{selection.name}: {selection.reason}", f"{selection.name}（{selection.chinese}）")
    )


def _dtype(choice: DtypeChoice) -> str:
    """The dtype and the reason for it."""
    dtype = choice.dtype
    match choice.reason:
        case "setting":
            return say(f"dtype {dtype}, as the settings say", f"数据类型 {dtype}（由设置指定）")
        case "hardware":
            return say(f"dtype {dtype}", f"数据类型 {dtype}")
        case "memory":
            return say(f"dtype {dtype}: in float32 the base would take more than a quarter of the memory",
                       f"数据类型 {dtype}：用 float32 时基座模型会占用四分之一以上的内存")  # fmt: skip
        case "measured":
            return say(
                f"dtype {dtype}: measured on this CPU, bfloat16 multiplies {choice.bf16_speedup:.2g} times as fast as "
                "float32",
                f"数据类型 {dtype}：在这个 CPU 上实测，bfloat16 乘法的速度是 float32 的 {choice.bf16_speedup:.2g} 倍",
            )
        case "unmeasured":
            return say("dtype bfloat16 or float32: the first job measures which of them is faster on this CPU",
                       "数据类型 bfloat16 或 float32：由第一个任务实测哪种在这个 CPU 上更快")  # fmt: skip


def _contents(settings: Settings) -> Iterator[Finding]:
    """Verifies the database and the checksum of every file and model in the data folder."""
    from luthier.store.backup import DATABASE

    if settings.store_url() is None and not (data_folder(settings) / DATABASE).exists():
        yield Finding("contents", "ok", say("no data yet", "还没有数据"))
        return
    store = open_store(settings)
    try:
        results, database_errors = list(store.checksums.verify_all()), store.database_errors()
    finally:
        store.close()
    damaged = [path for path, intact in results if not intact]
    remedy = say("Restore a backup: luthier restore BACKUP --data NEW_FOLDER",
                 "恢复备份：luthier restore 备份 --data 新文件夹")  # fmt: skip
    for error in database_errors:
        yield Finding("contents", "error", say(f"the database is damaged: {error}", f"数据库已损坏：{error}"), remedy)
    for path in damaged:
        text = say(f"{path} is missing or does not match its checksum", f"{path} 缺失或与校验和不符")
        yield Finding("contents", "error", text, remedy if path == damaged[-1] else "")
    if not damaged and not database_errors:
        yield Finding("contents", "ok", say(f"the database is sound, and {len(results)} files match their checksums",
                                            f"数据库完好，{len(results)} 个文件与校验和一致"))  # fmt: skip


Check = Callable[["Settings"], Iterator[Finding]]
CHECKS: list[Check] = [
    *(_version, _config, _cpu, _memory, open_files, _disk, permissions, database, keys, _port),
    *(_compiler, kernels, hub, _base_model, _engine),
]


@click.command(
    help=say(
        "Check this machine and installation: CPU, memory, disk, permissions, database, keys, port, compiler, hub, "
        "clock, base model, and the engine that `auto` selects and why. With --verify, also verify the checksums of "
        "the database, files and models in the data folder. Exit code 1 if something is broken.\n\n"
        "Example: luthier doctor --verify",
        "检查本机和安装：CPU、内存、磁盘、权限、数据库、密钥、端口、编译器、模型站点、时钟、基座模型，"
        "以及 auto 选择的推理引擎和原因。"
        "加 --verify 还会核对数据库以及数据文件夹中的文件和模型。有错误时退出码为 1。\n\n例子：luthier doctor --verify",
    )
)
@click.option(
    "--verify",
    is_flag=True,
    help=say("Read every file and model, and compare checksums.", "读取每个文件和模型，核对校验和。"),
)
@server_options
@pass_options
def doctor(options: Options, verify: bool) -> None:
    settings = settings_of(options)
    checks = [*CHECKS, _contents] if verify else CHECKS
    with spinner(say("Checking this machine …", "正在检查本机……")):
        findings = [finding for check in checks for finding in _findings(check, settings)]
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    sys.exit(1 if any(finding.status == "error" for finding in findings) else 0)


def _findings(check: Check, settings: Settings) -> list[Finding]:
    """Runs a check. If it raises, its error is the finding, so that one broken part does not hide the others."""
    try:
        return list(check(settings))
    except Exception as error:
        text = str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"
        return [Finding(check.__name__.strip("_"), "error", text)]


def _print(finding: Finding) -> None:
    from rich.text import Text

    mark, style = _MARKS[finding.status]
    name = say(finding.name, _CHINESE_NAMES.get(finding.name, finding.name))
    line = Text.assemble((mark, style), f" {name}{' ' * max(1, 12 - cell_width(name))}{finding.text}")
    stdout_console().print(line, soft_wrap=True)
    if finding.remedy:
        stdout_console().print(Text(" " * 14 + finding.remedy), soft_wrap=True)
