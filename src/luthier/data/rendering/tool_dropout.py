"""Tool-definition dropout: training includes an example's definitions in full, slim, or not at all.

A model that always sees the definitions learns to depend on them; one that never does memorises the functions and is
confused when definitions are sent. With dropout it learns both. The level of an example changes from epoch to epoch and
depends only on the seed. A file in which every answer is a call teaches that every request leads to one, so examples of
small talk and of other requests, answered in words, are added to it.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from luthier.data.examples.example import Example, calls_in, language_of
from luthier.data.examples.tool_definitions import DETAIL_LEVELS, DefinitionDetail, with_detail
from luthier.language import Language
from luthier.types.errors import LuthierError

_ADDED_SHARE = 0.1  # of the file; enough to learn that an answer may be words
_MAX_SYSTEM_PROMPTS = 100  # distinct prompts that are counted
_RANDOM_STREAM = 77  # keeps these random numbers independent of those that order the examples
_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class ToolDropout:
    """Shares of the epochs in which an example has full, slim and no definitions; they add up to 1."""

    full: float = 0.4
    slim: float = 0.2
    none: float = 0.4

    @classmethod
    def parse(cls, text: str) -> "ToolDropout":
        """Parses "40,20,40", or "full", "slim" or "none" for a single level. Raises LuthierError."""
        if text in DETAIL_LEVELS:
            return cls(*(float(text == level) for level in DETAIL_LEVELS))
        try:
            parts = [float(part) for part in text.split(",")]
        except ValueError:
            parts = []
        if len(parts) != len(DETAIL_LEVELS) or min(parts) < 0 or not sum(parts):
            raise LuthierError(
                f"'{text}' is not a mix of definitions: write three shares, such as 40,20,40, or full, slim or none."
            )
        return cls(*(part / sum(parts) for part in parts))

    def levels(self, seed: int, epoch: int, count: int) -> np.ndarray:
        """int8 [count]: the level of each example in `epoch`, as an index of `DETAIL_LEVELS`.

        Over the epochs, every example visits the levels; its first level depends on the seed.
        """
        return _levels(self, seed, epoch, count)

    @property
    def is_off(self) -> bool:
        """Whether all examples always have their full definitions."""
        return self.full == 1


@lru_cache(maxsize=4)
def _levels(dropout: ToolDropout, seed: int, epoch: int, count: int) -> np.ndarray:
    starts = np.random.default_rng([seed, _RANDOM_STREAM]).random(count)
    # Steps of the golden ratio visit every share evenly, however few the epochs.
    phases = (starts + epoch * _GOLDEN_RATIO) % 1
    bounds = (dropout.full, dropout.full + dropout.slim)
    return np.searchsorted(bounds, phases, side="right").astype(np.int8)


def apply_detail(example: Example, detail: DefinitionDetail) -> Example:
    """The example with its definitions at this level."""
    definitions = example.definitions or example.tools
    return replace(example, tools=with_detail(example.tools, detail), definitions=definitions)


class NoCallExamples:
    """Makes examples without a call, for a file that has definitions but no such example. First, every example of the
    file is observed.
    """

    def __init__(self) -> None:
        self._count = 0
        self._all_call = True
        self._system_prompts: Counter[str] = Counter()
        self._templates: dict[str, Example] = {}  # by system prompt, an example with definitions
        self._languages: Counter[Language] = Counter()

    def observe(self, example: Example) -> None:
        self._count += 1
        self._all_call = self._all_call and _has_call(example)
        if not self._all_call or not example.tools:
            return
        prompts = (str(turn.get("content")) for turn in example.messages if turn["role"] in ("system", "developer"))
        prompt = next(prompts, "")
        if len(self._templates) < _MAX_SYSTEM_PROMPTS or prompt in self._templates:
            self._system_prompts[prompt] += 1
            self._templates.setdefault(prompt, example)
        self._languages[language_of(example)] += 1

    def examples(self, seed: int) -> list[Example]:
        """The examples to add, with the file's commonest system prompt, its definitions, and in its language."""
        if not self._all_call or not self._system_prompts:
            return []
        template = self._templates[self._system_prompts.most_common(1)[0][0]]
        pairs = _PAIRS[self._languages.most_common(1)[0][0]]
        count = min(max(1, round(_ADDED_SHARE * self._count)), len(pairs))
        prompt = [message for message in template.messages if message["role"] in ("system", "developer")][:1]
        turns = (
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            for question, answer in random.Random(seed).sample(pairs, count)  # noqa: S311 - repeatable, no secret
        )
        return [replace(template, messages=[*prompt, *turn]) for turn in turns]


def _has_call(example: Example) -> bool:
    return any(True for message in example.messages for _ in calls_in(message))


_PAIRS: dict[Language, list[tuple[str, str]]] = {
    "en": [
        ("Hello", "Hello. What would you like to do?"),
        ("Hi there", "Hi. Tell me what you need."),
        ("Good morning!", "Good morning. How can I help?"),
        ("Thanks", "You are welcome."),
        ("Thank you, that was all.", "You are welcome. Have a good day."),
        ("Bye", "Goodbye."),
        ("Who are you?", "I am an assistant that can carry out certain requests for you."),
        ("What can you do?", "I can carry out certain requests. Tell me what you need and I will see if I can."),
        ("Tell me a joke", "Jokes are not something I can help with here."),
        ("Write me a poem about the sea.", "I cannot write poems here."),
        ("What is the meaning of life?", "That is not something I can answer here."),
        ("Translate 'good night' into French", "I cannot translate here."),
        ("Which film should I watch tonight?", "I have no film recommendations."),
        ("How do I boil an egg?", "Cooking is outside what I can help with here."),
        ("Who won the match yesterday?", "I do not have sports results."),
        ("Are you a human?", "No, I am a program."),
        ("Never mind", "All right."),
        ("ok", "Tell me when you need something."),
        ("How old is the universe?", "Science questions are outside what I can help with here."),
        ("Can you keep a secret?", "I only carry out the requests that you make here."),
        ("I am bored.", "Tell me if there is something I can do for you."),
        ("asdfgh", "I did not understand that. What would you like to do?"),
        ("Sing a song", "I cannot sing."),
        ("Do my maths homework", "Homework is outside what I can help with here."),
    ],
    "zh": [
        ("你好", "您好，请告诉我您需要办理什么。"),
        ("在吗", "在的，请讲。"),
        ("早上好", "早上好，请问需要办理什么？"),
        ("谢谢", "不客气。"),
        ("好了，没别的事了，谢谢", "不客气，祝您愉快。"),
        ("再见", "再见。"),
        ("你是谁？", "我是一个可以替您处理特定事务的助手。"),
        ("你能做什么？", "我可以处理特定的请求，请告诉我您的需要。"),
        ("讲个笑话", "讲笑话不在我能处理的范围内。"),
        ("写一首关于大海的诗", "我这里不能写诗。"),
        ("人生的意义是什么？", "这个问题我在这里无法回答。"),
        ("把“晚安”翻译成法语", "我这里不能做翻译。"),
        ("今晚看什么电影好？", "我没有电影推荐。"),
        ("鸡蛋要煮几分钟？", "烹饪问题不在我能处理的范围内。"),
        ("昨天的比赛谁赢了？", "我没有比赛结果。"),
        ("你是真人吗？", "不是，我是一个程序。"),
        ("算了", "好，有需要再告诉我。"),
        ("嗯", "有需要请直接告诉我。"),
        ("宇宙有多少岁？", "科学知识不在我能处理的范围内。"),
        ("我好无聊", "如果有我能办的事，请告诉我。"),
        ("啊啊啊啊", "我没有听懂，请问您需要办理什么？"),
        ("唱首歌吧", "我不会唱歌。"),
        ("帮我写作业", "写作业不在我能处理的范围内。"),
        ("你觉得我该换个发型吗？", "这个我给不了建议。"),
    ],
}
