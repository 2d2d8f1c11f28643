"""`luthier export`: writes a fine-tuned model for other programs and verifies it. It reads the data folder directly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.local import local_catalogue, local_store, settings_of
from luthier.cli.options import Options, data_options, option, pass_options
from luthier.cli.output import format_bytes, note, print_json, print_table, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.export.gate import Verification
    from luthier.export.run import ExportResult, Stage


@click.command(
    help=say(
        "Write a fine-tuned model for other programs, load it in its own runtime, and verify that it reproduces the "
        "trained model. --to: peft (the adapter), merged (safetensors), gguf (llama.cpp), gguf-lora, ollama (with a "
        "Modelfile), vllm. GGUF types, several at once: gguf:q8_0,f16,q4_0 of f32, f16, bf16, q8_0, q5_1, q5_0, q4_0. "
        "Nothing is overwritten.\n\n"
        "Example: luthier export ft:gpt-3.5-turbo-0125:personal::abc12345 --to gguf:q8_0,q4_0",
        "把微调模型写成供其他程序使用的文件夹，在相应的运行环境中加载，并验证它能复现训练出的模型。--to："
        "peft（适配器）、merged（safetensors）、gguf（llama.cpp）、gguf-lora、ollama（含 Modelfile）、vllm。GGUF "
        "可同时写多种类型：gguf:q8_0,f16,q4_0（可用 f32、f16、bf16、q8_0、q5_1、q5_0、q4_0）。不会覆盖任何文件。\n\n"
        "例子：luthier export ft:gpt-3.5-turbo-0125:personal::abc12345 --to gguf:q8_0,q4_0",
    )
)
@click.argument("model")
@option("--to", "Target format.", "目标格式。", name="target", required=True, metavar="TARGET")
@option(
    "--out",
    "Output folder; default: one named after model and target, in the current folder.",
    "要写出的文件夹；默认在当前文件夹中，以模型和目标命名。",
    type=click.Path(path_type=Path),
)
@option(
    "--base-id",
    "For peft: the public id of the base model, if only this machine knows its name.",
    "用于 peft：基座只存在于本机时，别人能找到的基座名称。",
    metavar="ORG/NAME",
)
@click.option("--stages", is_flag=True, hidden=True)  # for the server: each stage as a JSON document on stdout
@data_options
@pass_options
def export(options: Options, model: str, target: str, out: Path | None, base_id: str | None, stages: bool) -> None:
    from luthier.export.run import export_model
    from luthier.export.targets import parse_target

    parsed = parse_target(target)
    folder = (out or Path(_folder_name(model, parsed.kind))).expanduser().absolute()
    settings = settings_of(options)
    with local_store(settings) as store:
        catalogue = local_catalogue(store.models_folder)
        notify = _print_stage if stages else _note_stage
        result = export_model(model, parsed, folder, settings, store, catalogue, notify, base_id)
    print_json(result.to_dict()) if options.json else _print_result(result)
    if result.failed:
        raise CliError(
            say(f"{len(result.failed)} of {len(result.verifications)} artefacts do not reproduce the trained model; "
                "they were deleted.",
                f"{len(result.verifications)} 个产物中有 {len(result.failed)} 个不能复现训练出的模型，已删除。"),
            "\n".join(f"{failed.artefact.label}: {failed.failure}" for failed in result.failed),
        )  # fmt: skip


def _print_stage(stage: Stage, name: str) -> None:
    click.echo(json.dumps({"stage": stage, "name": name}))


def _note_stage(stage: Stage, name: str) -> None:
    if stage == "writing":
        note(say(f"Writing {name}", f"正在写出 {name}"))
    else:
        note(say(f"Verifying {name}", f"正在验证 {name}"))


def _folder_name(model: str, kind: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model).strip('-')}-{kind}"


def _print_result(result: ExportResult) -> None:
    columns = (
        say("artefact", "产物"),
        say("size", "大小"),
        say("runtime", "运行环境"),
        say("difference", "平均差"),
        say("exact answers", "完全一致的回答"),
    )
    print_table(columns, [_row(verification) for verification in result.verifications])
    for verification in result.verifications:
        if verification.unverified:
            label = verification.artefact.label
            note(say(f"Not verified: {label}: {verification.unverified}.",
                     f"未验证：{label}：{verification.unverified}。"), "yellow")  # fmt: skip
    if result.folder:
        stdout_console().print(printable(str(result.folder)), soft_wrap=True)


def _row(verification: Verification) -> tuple[str, ...]:
    report = verification.report
    state = say("failed", "未通过") if verification.failure else ""
    exact = f"{verification.exact}/{report.examples}" if report else ""
    difference = f"{report.mean_difference:.4f}" if report else "–"
    runtime = verification.runtime or say("not verified", "未验证")
    label, size = verification.artefact.label, format_bytes(verification.byte_count)
    return label, size, runtime, difference, " ".join(filter(None, [exact, state])) or "–"
