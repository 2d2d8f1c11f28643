"""The abilities of a base model on this machine, determined by probing its architecture, chat template and
tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from luthier.language import Language, say
from luthier.types.errors import BaseModelError

if TYPE_CHECKING:
    from luthier.arch import DecoderSpec, Unsupported
    from luthier.data.rendering.renderer import Renderer
    from luthier.data.rendering.template_choice import TemplateChoice
    from luthier.data.rendering.template_probes import Loss

_CHINESE = (
    "尊敬的领导：因家中有事，需要回老家处理，特向您请假三天，望批准。请假期间的工作已交给同事，电话保持畅通。此致敬礼！"
)

_LOSSES_ZH: dict[Loss, str] = {
    "answer": "回答",
    "system": "系统消息",
    "turns": "多轮对话",
    "definition": "函数定义",
    "call": "函数调用",
    "result": "函数结果",
    "parallel calls": "并行调用",
    "text beside calls": "调用旁的文字",
}


class Ability(NamedTuple):
    """One ability for display, such as `context`, "Context", "8,192 tokens"."""

    code: str
    name: str
    text: str


def abilities(folder: Path, language: Language | None = None) -> dict[str, Any]:
    """The abilities of the model in `folder`, or why it is unusable; texts are in `language`.

    Kind of training, call format, parallel calls, turns, reasoning, context and attention window in tokens, tokens per
    Chinese character.
    """
    from luthier.arch import DecoderSpec
    from luthier.base_config import context_tokens
    from luthier.data.rendering.renderer import Renderer

    try:
        renderer, context, spec = Renderer(folder), context_tokens(folder), DecoderSpec.from_folder(folder)
        training = _training(folder, spec, language)
    except BaseModelError as error:
        return {"unusable": str(error)}
    choice, window = renderer.choice, _window(folder, spec)
    return {
        "training": training,
        "calls": calls_text(choice, language),
        "parallel_calls": choice.parallel,
        "turns": _turns(choice, language),
        "reasoning": choice.has_reasoning,
        "context_tokens": context,
        **({"window_tokens": window} if window and window < context else {}),
        "tokens_per_chinese_character": _tokens_per_character(renderer, _CHINESE),
    }


def ability_rows(able: dict[str, Any], language: Language | None = None) -> list[Ability]:
    """The abilities of a usable model as rows of a table."""

    def row(code: str, name: tuple[str, str], text: tuple[str, str]) -> Ability:
        return Ability(code, say(*name, language), say(*text, language))

    calls, turns, training = able["calls"], able["turns"], able["training"]
    several, several_zh = ("several at once", "可同时多个") if able["parallel_calls"] else ("one at a time", "每次一个")
    context, window, rate = able["context_tokens"], able.get("window_tokens"), able["tokens_per_chinese_character"]
    beyond, beyond_zh = (f", window {window:,}", f"，窗口 {window:,}") if window else ("", "")
    return [
        row("training", ("Training", "训练方式"), (training, training)),
        row("calls", ("Calls", "函数调用"), (f"{calls}, {several}", f"{calls}，{several_zh}")),
        row("turns", ("Turns", "多轮对话"), (turns, turns)),
        row("reasoning", ("Reasoning", "推理内容"), ("yes", "支持") if able["reasoning"] else ("no", "不支持")),
        row("context", ("Context", "上下文"), (f"{context:,} tokens{beyond}", f"{context:,} 个 token{beyond_zh}")),
        row("chinese", ("Chinese", "中文"), (f"{rate:g} tokens per character", f"每字 {rate:g} 个 token")),
    ]


def ability_text(able: dict[str, Any]) -> str:
    """The abilities in one paragraph."""
    if "unusable" in able:
        return say(f"It cannot be used: {able['unusable']}", f"无法使用：{able['unusable']}")
    rows = ability_rows(able)
    return say(
        " ".join(f"{name}: {text}." for _, name, text in rows), "".join(f"{name}：{text}。" for _, name, text in rows)
    )


def _training(folder: Path, spec: DecoderSpec | Unsupported, language: Language | None) -> str:
    """The kind of training. transformers, and with it torch, is imported only if the model has no decoder
    description."""
    from luthier.arch import Unsupported
    from luthier.arch.model_config import load_config
    from luthier.arch.row_mixing import ROW_REASONS, separate_rows

    reason = separate_rows(load_config(folder)) if isinstance(spec, Unsupported) else None
    if reason is None:
        return say("packed", "打包", language)
    en, zh = ROW_REASONS[reason]
    return say(f"in separate rows, which is slower ({en})", f"样本单独成行，较慢（{zh}）", language)


def _window(folder: Path, spec: DecoderSpec | Unsupported) -> int | None:
    """The shortest attention window of a layer; None if every layer sees all tokens."""
    from luthier.arch import Unsupported
    from luthier.arch.model_config import load_config
    from luthier.arch.row_mixing import attention_windows

    windows = attention_windows(load_config(folder)) if isinstance(spec, Unsupported) else spec.windows
    return min((window for window in windows if window), default=None)


def calls_text(choice: TemplateChoice, language: Language | None = None) -> str:
    """The call format, and what the model's own template would lose."""
    if not choice.lost:
        return choice.form.name
    from luthier.data.rendering.hermes_form import HERMES

    lost, lost_zh = ", ".join(choice.lost), "、".join(_LOSSES_ZH[loss] for loss in choice.lost)
    if choice.form.name != HERMES.name:
        return say(
            f"{choice.form.name}, with Luthier's template (its own loses: {lost})",
            f"{choice.form.name}，采用 Luthier 的对话模板（其对话模板会丢失：{lost_zh}）",
            language,
        )
    return say(
        f"Luthier's own (its template loses: {lost})", f"Luthier 自己的格式（其对话模板会丢失：{lost_zh}）", language
    )


def _turns(choice: TemplateChoice, language: Language | None) -> str:
    if choice.composed:
        return say("rendered turn by turn", "逐轮渲染", language)
    return say("as its own template writes them", "按其对话模板", language)


def _tokens_per_character(renderer: Renderer, text: str) -> float:
    return round((len(renderer.text(text)) - len(renderer.text(""))) / len(text), 2)
