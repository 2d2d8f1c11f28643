"""README.md of an exported folder: the model card, with the front matter that model hubs read.

It contains checksums of the training data but no examples.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier import __version__
from luthier.export.folders import Artefact
from luthier.export.gate import Verification
from luthier.export.source import ExportSource
from luthier.export.targets import Target
from luthier.export.vllm import command
from luthier.language import say

CARD = "README.md"
_MIB = 1024 * 1024


def write_card(
    folder: Path,
    source: ExportSource,
    target: Target,
    lineage: dict[str, Any],
    verifications: Sequence[Verification],
    trained_exact: int,
) -> None:
    """Writes README.md into `folder`.

    Args:
        lineage: The document that `luthier.lineage` builds for the model.
        trained_exact: How many parity samples the model answered exactly in the trainer.
    """
    parts = [
        *_front_matter(source, lineage),
        f"# {source.model.id}",
        _origin(source, lineage),
        say("## How to run it", "## 如何运行"),
        *(line for verification in verifications for line in _usage(source, target, verification)),
        say("## Verified", "## 已验证"),
        verification_table(verifications, trained_exact),
        say("## Training", "## 训练"),
        *_training(lineage),
        say(f"Exported by Luthier {__version__}.", f"由 Luthier {__version__} 导出。"),
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _front_matter(source: ExportSource, lineage: dict[str, Any]) -> Iterator[str]:
    lines = ["---"]
    if source.origin.licence:
        lines.append(f"license: {source.origin.licence.lower()}")
    if source.origin.hub_id:
        lines.append(f"base_model: {source.origin.hub_id}")
    tags = ["luthier", "fine-tuned", lineage["job"]["method"]]
    lines += ["tags:", *(f"- {tag}" for tag in tags), "---"]
    yield "\n".join(lines)


def _origin(source: ExportSource, lineage: dict[str, Any]) -> str:
    """A sentence about the base model, its licence, its rounding, and the parent models."""
    base = source.origin.hub_id or source.base_name
    licence = source.origin.licence or say("unknown; ask its authors", "未知，请向其作者确认")
    text = say(
        f"Fine-tuned from {base} (licence of the base: {licence}).", f"由 {base} 微调而来（基座许可证：{licence}）。"
    )
    rounded = lineage["base"]["rounded_to"]
    if rounded:
        text += " " + say(
            f"It was trained on weights of that model that had been rounded to {rounded}; on the original weights, an "
            "adapter gives slightly different numbers. Merged and GGUF exports contain the exact weights of the "
            "training.",
            f"训练所用的是该模型取整到 {rounded} 后的权重；适配器用在原始权重上，数值会略有差异。"
            "merged 和 GGUF 导出包含训练时的权重。",
        )
    if lineage["parents"]:
        parents = ", ".join(lineage["parents"])
        text += " " + say(f"Training continued from {parents}.", f"在 {parents} 的基础上继续训练。")
    return text


def _usage(source: ExportSource, target: Target, verification: Verification) -> Iterator[str]:
    artefact = verification.artefact
    if verification.failure:
        return
    if target.kind == "ollama":
        yield _code("ollama create NAME && ollama run NAME")
    elif target.kind == "vllm":
        yield _code("./serve.sh    # " + " ".join(command(source, ".")))
    elif artefact.form == "gguf":
        yield _code(f"llama-server --model {artefact.path.name} --jinja")
    elif artefact.form == "gguf-lora":
        yield _code(f"llama-server --model BASE.gguf --lora {artefact.path.name} --jinja")
    else:
        yield _code(_python(artefact, source))


def _python(artefact: Artefact, source: ExportSource) -> str:
    if artefact.form == "merged":
        return 'model = transformers.AutoModelForCausalLM.from_pretrained(".")'
    return (
        f'base = transformers.AutoModelForCausalLM.from_pretrained("{source.origin.hub_id or source.base_name}")\n'
        'model = peft.PeftModel.from_pretrained(base, ".")'
    )


def verification_table(verifications: Sequence[Verification], trained_exact: int) -> str:
    """A Markdown table: artefact, size, runtime, mean difference, exact answers."""
    header = say(
        "| artefact | MiB | runtime | mean difference of log-probabilities | exact answers |",
        "| 产物 | MiB | 运行环境 | 对数概率平均差 | 完全一致的回答 |",
    )
    lines = [header, "|---|---|---|---|---|"]
    for verification in verifications:
        report, size = verification.report, f"{verification.byte_count / _MIB:.1f}"
        label = verification.artefact.label
        if verification.unverified:
            lines.append(f"| {label} | {size} | {say('not verified', '未验证')}: {verification.unverified} | | |")
            continue
        measured = f"{report.mean_difference:.4f}" if report else "–"
        exact = f"{verification.exact} / {report.examples}" if report and verification.exact is not None else "–"
        if verification.failure:
            exact += f" ({say('failed, deleted', '未通过，已删除')}: {verification.failure})"
        lines.append(f"| {label} | {size} | {verification.runtime} | {measured} | {exact} |")
    counted = max((verification.report.examples for verification in verifications if verification.report), default=0)
    if counted:
        lines += [
            "",
            say(
                f"Compared on {counted} examples of the training's validation file, or of the training file where "
                f"there is none. The trainer's own model answers {trained_exact} of them exactly.",
                f"在训练的验证文件（没有时用训练文件）中的 {counted} 个样本上比较；"
                f"训练时的模型完全一致地回答了其中 {trained_exact} 个。",
            ),
        ]
    return "\n".join(lines)


def _training(lineage: dict[str, Any]) -> Iterator[str]:
    """The table of the job that trained the model: settings, data, metrics."""
    job = lineage["job"]
    created = datetime.fromtimestamp(job["created_at"], UTC).strftime("%Y-%m-%d")
    rows = [
        (say("job", "任务"), f"{job['id']}, {created}"),
        (say("method", "方法"), job["method"]),
        (say("seed", "随机种子"), job["seed"]),
        (say("hyperparameters", "超参数"), _compact(job["hyperparameters"])),
        (say("trained tokens", "训练 token 数"), job["trained_tokens"]),
        (say("settings", "设置"), _compact(lineage["settings"]) if lineage["settings"] else "–"),
        (say("metrics", "指标"), _compact(lineage["metrics"]) if lineage["metrics"] else "–"),
        (say("code", "代码版本"), f"Luthier {lineage['code_version'] or '–'}"),
    ]
    for file in lineage["data"]:
        role = say(f"{file['role']} file", "训练文件" if file["role"] == "training" else "验证文件")
        rows.append((role, f"{file['filename'] or file['file']}, sha256 {file['sha256'] or '–'}"))
    yield "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _code(text: str) -> str:
    return f"```\n{text}\n```"
