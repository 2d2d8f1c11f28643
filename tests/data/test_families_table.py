"""Every family with its maker's own template: nothing is lost in silence. It makes the table of docs/models.md and
its Chinese twin.

The templates are fetched by `python tests/conformance/fetch.py` and not part of the repository.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from conformance.fetch import COMMAND, TEMPLATES
from luthier.data.examples.example import Example
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.call_form import CallReader, ReasoningText, collect_answer, parse_answer
from luthier.data.rendering.hermes_form import HERMES
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.template_probes import Need
from luthier.data.rendering.thinking_reader import ThinkingReader
from luthier.types.errors import RenderError
from nasty_calls import NASTY, TOOLS
from templates import trained_text, write_base

pytestmark = pytest.mark.services  # their templates are fetched

# Family → (file of the template, the token that ends its answers, its architecture in tests/families.py or nothing).
FAMILIES = {
    "Cohere Aya 23": ("cohere", "<|END_OF_TURN_TOKEN|>", "cohere"),
    "Cohere Command R7B, Aya": ("cohere2", "<|END_OF_TURN_TOKEN|>", "cohere2"),
    "DeepSeek-R1 distills": ("deepseek_r1_distill", "<｜end▁of▁sentence｜>", "qwen2"),
    "DeepSeek-V3": ("deepseekv3", "<｜end▁of▁sentence｜>", ""),
    "Gemma 1, 2": ("gemma", "<end_of_turn>", "gemma2"),
    "Gemma 3": ("gemma3", "<end_of_turn>", "gemma3"),
    "Gemma 4": ("gemma4_v5", "<turn|>", "gemma4"),
    "GLM-4.5": ("glm4moe", "<|user|>", ""),
    "gpt-oss": ("gptoss", "<|return|>", "gpt-oss"),
    "LFM2": ("lfm2_v2", "<|im_end|>", "lfm2"),
    "LFM2.5": ("lfm2_2_5_v2", "<|im_end|>", "lfm2"),
    "Llama 3": ("llama3", "<|eot_id|>", "llama"),
    "Llama 3.1": ("llama3_1", "<|eot_id|>", "llama"),
    "Llama 3.2": ("llama3_2", "<|eot_id|>", "llama"),
    "Nemotron 3": ("nemotron_3_nano", "<|im_end|>", ""),
    "Nemotron 3 Super": ("nemotron_3_super", "<|im_end|>", ""),
    "Nemotron 3 Ultra": ("nemotron_3_ultra", "<|im_end|>", ""),
    "Nemotron 3.5": ("nemotron_3_5_lightning", "<|im_end|>", ""),
    "Phi-3": ("phi3", "<|endoftext|>", "phi3"),
    "Phi-3.5": ("phi3_5", "<|endoftext|>", "phi3 with LongRoPE"),
    "Qwen2.5": ("qwen2_5", "<|im_end|>", "qwen2"),
    "Qwen3 (hybrid)": ("qwen3", "<|im_end|>", "qwen3"),
    "Qwen3-Instruct-2507": ("qwen3_instruct_2507", "<|im_end|>", "qwen3"),
    "Qwen3.5 up to 2B": ("qwen3_5_nothink", "<|im_end|>", "qwen3.5"),
    "Qwen3.5 from 4B": ("qwen3_5_think", "<|im_end|>", "qwen3.5"),
    "Qwen3.6": ("qwen3_6", "<|im_end|>", "qwen3.5"),
    "Qwen3.8": ("qwen3_8", "<|im_end|>", ""),
}
_MARK = re.compile(r"<\|\"\|>|<\|?[^\s<>|{}()'\"/=]+\|?>|\[gMASK\]|<sop>")
_ADDED = re.compile(r"</?(?:tool_call|tool_response|think|arg_key|arg_value)>")  # not special in real tokenizers
PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("models.md", "models.zh-CN.md")]
CHINESE = {
    "yes": "是",
    "refused": "拒绝",
    "not supported": "不支持",
    "packed": "打包",
    "separate rows": "单独成行",
    "not tested": "未测试",
    "Luthier's own": "Luthier 自己的",
    "deepseek, definitions by Luthier": "deepseek，定义用 Luthier 的",
}
_HEAD = (
    "| family | call format | several turns | call, result, answer | parallel calls | text beside calls | "
    "difficult arguments | without definitions | `strict`, `required`, `none` | reasoning off | separate reasoning | "
    "training | served by |"
)


def _renderer(family: str, folder: Path) -> Renderer:
    name, end, _ = FAMILIES[family]
    file = TEMPLATES / f"{name}.jinja"
    if not file.exists():
        pytest.skip(f"the template of {family} is not fetched: {COMMAND}")
    text = file.read_text(encoding="utf-8")
    special = [mark for mark in dict.fromkeys(_MARK.findall(text)) if not _ADDED.fullmatch(mark)]
    return Renderer(write_base(folder / "base", text, [*special, "<bos>"], end, sorted(set(_ADDED.findall(text)))))


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _calls(*arguments: dict[str, Any]) -> dict[str, Any]:
    functions = [{"name": "get_price", "arguments": lossless_json.dumps(each)} for each in arguments]
    calls = [{"id": f"call_{n}", "type": "function", "function": each} for n, each in enumerate(functions)]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _result(number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": f"result {number}"}


_SAID = {"role": "assistant", "content": "It is 12."}
_BESIDE = [_user("a"), {**_calls({"text": "A"}), "content": "Let me look."}, _result(), _SAID]
_TURNS = [{"role": "system", "content": "Be short."}, _user("a"), _SAID, _user("b"), _SAID, _user("c"), _SAID]
_CYCLE = [_user("a"), _calls({"text": "A"}), _result(), _SAID, _user("b"), _calls({"text": "B"}), _result(), _SAID]
_PARALLEL = [_user("a"), _calls({"text": "A"}, {"text": "B"}), _result(), _result(1), _SAID]


def _grows(renderer: Renderer, messages: list[dict[str, Any]], tools: Any = None) -> str:
    """Whether serving sends every prompt as it was trained; `refused` where the example is."""
    try:
        ids = renderer.example(Example(messages, tools)).ids
    except RenderError:
        return "refused"
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = renderer.prompt(messages[:index], tools)
            assert ids[: len(prompt)] == prompt
    return "yes"


def _with_need(renderer: Renderer, folder: Path, need: Need, messages: list[dict[str, Any]]) -> str:
    """`_grows`, or for what the base's own template refuses, whether Luthier's form in the base's turns takes it."""
    if _grows(renderer, messages, TOOLS) == "yes":
        return "yes"
    own = Renderer(folder / "base", needs=[need])
    return "Luthier's own" if own.choice.lost == (need,) and _grows(own, messages, TOOLS) == "yes" else "refused"


def _reasoning(renderer: Renderer) -> str:
    """Whether reasoning is trained, and read apart from text and from calls, also after a result."""
    for answer in (_SAID, _calls({"text": "A"})):
        for before in ([_user("a")], _CYCLE[:3]):
            messages = [*before, {**answer, "reasoning_content": "because"}]
            if not renderer.choice.has_reasoning:
                with pytest.raises(RenderError):
                    renderer.example(Example(messages, TOOLS))
                continue
            prompt = renderer.prompt(before, TOOLS, thinking=True)
            rendered = renderer.example(Example(messages, TOOLS))
            assert rendered.ids[: len(prompt)] == prompt
            reader: CallReader = renderer.call_form.new_reader(TOOLS)
            if not renderer.call_form.marks_every_answer:
                is_open = renderer.opens_reasoning(prompt)
                reader = ThinkingReader(reader, renderer.reasoning_marks, inside=is_open)
            pairs = zip(rendered.ids[len(prompt) :], rendered.weights[len(prompt) :], strict=True)
            answer_ids = _without_end(renderer, [token for token, weight in pairs if weight])
            events = reader.feed(renderer.decode(answer_ids))
            events += reader.finish(cut_off=False)
            assert "".join(event.text for event in events if isinstance(event, ReasoningText)) == "because"
            read = collect_answer(events)
            assert (read.content or "").strip() == (answer["content"] or "")
            assert [call.name for call in read.calls] == ["get_price"] * bool(answer.get("tool_calls"))
    return "yes" if renderer.choice.has_reasoning else "not supported"


def _lossless(renderer: Renderer, tools: Any) -> str:
    """How many of the difficult arguments are parsed back, whole and character by character; the rest are refused."""
    survived = 0
    for arguments in NASTY:
        example = Example([_user("a"), _calls(arguments)], tools)
        try:
            text = trained_text(renderer, example)
        except RenderError:
            with pytest.raises(RenderError, match="Message 2: the call of get_price"):
                renderer.example(example)
            continue
        answer = parse_answer(text, renderer.call_form, tools)
        written = lossless_json.DECODER.decode(answer.calls[0].arguments)
        assert lossless_json.dumps(written, sort_keys=True) == lossless_json.dumps(arguments, sort_keys=True)
        reader = renderer.call_form.new_reader(tools)
        events = [*(event for char in text for event in reader.feed(char)), *reader.finish(cut_off=False)]
        assert events
        survived += 1
    return f"{survived}/{len(NASTY)}"


def _answer_ids(renderer: Renderer, example: Example) -> list[int]:
    """What is trained, without the token that ends it."""
    return _without_end(renderer, renderer._encode(trained_text(renderer, example)))


def _without_end(renderer: Renderer, ids: list[int]) -> list[int]:
    while ids[-1] in renderer.stop_ids:
        ids = ids[:-1]
    return ids


def _grammars(renderer: Renderer) -> str:
    """Whether the grammars of the form accept what is trained."""
    ids = _answer_ids(renderer, Example([_user("a"), _calls({"text": "A", "number": 2})], TOOLS))
    tokenizer = LLTokenizer(renderer._tokenizer.to_str(), eos_token=sorted(renderer.stop_ids))
    rules = renderer.call_form.grammar_rules(TOOLS, parallel=False)
    form = renderer.call_form
    mixed = f"{form.lead_rule}TEXT | text_and_calls\n{form.text_rule}"
    for start, tokens in (("calls", ids), (mixed, _answer_ids(renderer, Example([_user("a"), _SAID])))):
        matcher = LLMatcher(tokenizer, "%llguidance {}\n" + "\n".join([f"start: {start}", *rules]) + "\n")
        assert not matcher.is_error(), matcher.get_error()
        assert matcher.try_consume_tokens(tokens) == len(tokens), renderer.decode(ids)
    return "yes"


def _row(family: str, folder: Path) -> list[str]:
    renderer = _renderer(family, folder)
    form = renderer.call_form.name
    if renderer.choice.lost:
        form = "Luthier's own" if form == HERMES.name else f"{form}, definitions by Luthier"
    plain = trained_text(renderer, Example([_user("a"), _SAID]))
    answer = parse_answer(plain, renderer.call_form).content or ""
    assert answer.lstrip().startswith("It is 12.")
    assert plain.startswith(answer) or renderer.call_form.marks_every_answer
    assert renderer._encode(plain)[-1] in renderer.stop_ids
    assert not renderer.opens_reasoning(renderer.prompt([_user("a")]))
    return [
        family,
        form,
        _grows(renderer, _TURNS),
        _grows(renderer, _CYCLE, TOOLS),
        _with_need(renderer, folder, "parallel calls", _PARALLEL),
        _with_need(renderer, folder, "text beside calls", _BESIDE),
        _lossless(renderer, TOOLS),
        _lossless(renderer, None),
        _grammars(renderer),
        "yes",
        _reasoning(renderer),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_lost_in_silence(family: str, tmp_path: Path) -> None:
    cells = _row(family, tmp_path)
    rows = [cells, [CHINESE.get(cell, cell) for cell in cells]]
    for page, row in zip(PAGES, rows, strict=True):
        line = f"| {' | '.join(row)} |"  # tests/worker/test_parity_families.py has the rest of it
        print(line)
        assert line in page.read_text(encoding="utf-8")
    assert _HEAD in PAGES[0].read_text(encoding="utf-8")
    assert cells.count("refused") <= 1, "at most parallel calls are refused"
