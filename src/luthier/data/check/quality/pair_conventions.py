"""The conventions of OpenAI's preparation tool for prompt/completion files: separators, leading spaces, endings.

Here they are notes, because such a pair is trained inside the base model's chat template, whose special tokens do the
work of the separators.
"""

from collections.abc import Iterable, Iterator

from luthier.data.check.quality.batch import Batch
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, make_finding
from luthier.data.findings.kinds import Kind

_MIN_PAIRS = 10
_MAX_DISTINCT = 10_000  # completions that are compared; a file with more is not a classification
_REMEDY_EN = (
    "Nothing to do here: the pairs are trained inside the base model's chat template, whose special tokens separate "
    "the two texts. It matters only in a file for OpenAI's completions models."
)
_REMEDY_ZH = (
    "在这里不需要处理：这样的样本放在基座模型的对话模板里训练，模板的特殊 token 已经分开两段文本。"
    "只有文件要用于 OpenAI 的 completions 模型时才有关系。"
)


class PairConventionCheck(QualityCheck):
    """Judges files in which every example is a prompt with a completion."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "prompt_separator_missing": Kind(
            "note",
            "the prompts do not all end with the same separator, such as \\n\\n###\\n\\n ({value} prompts)",
            "各条 prompt 没有共同的结尾分隔符，例如 \\n\\n###\\n\\n（共 {value} 条）",
            _REMEDY_EN, _REMEDY_ZH, "The prompts have no common separator",
        ),
        "completion_space_missing": Kind(
            "note",
            "completions that do not begin with a space: {value}",
            "不以空格开头的 completion：{value}",
            _REMEDY_EN, _REMEDY_ZH, "Completions do not begin with a space",
        ),
        "completion_ending_missing": Kind(
            "note",
            "the completions have no common ending, such as END or a line break ({value} completions)",
            "各条 completion 没有共同的结尾，例如 END 或换行（共 {value} 条）",
            _REMEDY_EN, _REMEDY_ZH, "The completions have no common ending",
        ),
    }  # fmt: skip

    def __init__(self) -> None:
        self._pairs = self._others = self._without_space = 0
        self._has_prompts = False
        self._prompt_ending: str | None = None
        self._ending: str | None = None
        self._completions: set[str] = set()

    def check(self, batch: Batch) -> Iterable[Finding]:
        self._others += len(batch) - batch.forms.kinds.count("completion")
        for prompt, completion in (
            zip(batch.forms.questions, batch.last_answers, strict=True) if not self._others else ()
        ):
            self._pairs += 1
            self._has_prompts = self._has_prompts or bool(prompt)
            self._without_space += not completion[:1].isspace()
            self._prompt_ending = _common_ending(self._prompt_ending, prompt)
            self._ending = _common_ending(self._ending, completion)
            if len(self._completions) <= _MAX_DISTINCT:
                self._completions.add(completion)
        return ()

    def finish(self) -> Iterator[Finding]:
        if self._others or self._pairs < _MIN_PAIRS:
            return
        if self._has_prompts and not self._prompt_ending:
            yield make_finding("prompt_separator_missing", value=self._pairs)
        if self._without_space:
            yield make_finding("completion_space_missing", value=f"{self._without_space} / {self._pairs}")
        is_classification = len(self._completions) * 3 < self._pairs
        if self._has_prompts and not is_classification and not self._ending:
            yield make_finding("completion_ending_missing", value=self._pairs)


def _common_ending(ending: str | None, text: str) -> str:
    """The common ending of `text` and all texts before it; `ending`: theirs, None before the first."""
    if ending is None:
        return text
    while not text.endswith(ending):
        ending = ending[1:]
    return ending
