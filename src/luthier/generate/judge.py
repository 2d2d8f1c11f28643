"""Scores of an example by a second model, from 1 to 5 for correctness, helpfulness and format.

The judge sees the question, the answer and the rubric, but not who wrote the answer. Replies without valid scores are
counted, and their example is rejected.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from luthier.generate.journal import TeacherRequest
from luthier.generate.list_parsing import read_json
from luthier.generate.list_prompts import SHOWN_CHARACTERS
from luthier.generate.reply_text import shortened
from luthier.generate.teacher import Teacher
from luthier.generate.thinking_room import ask_with_room
from luthier.language import Language, say

ASPECTS = ("correct", "helpful", "format")
MAX_JUDGE_TOKENS = 200
_SCORE = {"type": "integer", "minimum": 1, "maximum": 5}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {**dict.fromkeys(ASPECTS, _SCORE), "reason": {"type": "string"}},
    "required": [*ASPECTS, "reason"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class JudgeScores:
    """The score of each criterion, and the judge's reason."""

    scores: dict[str, int]
    reason: str

    @property
    def lowest(self) -> int:
        return min(self.scores.values())


class Judge:
    """Scores answers with a model; `structured` if the model supports JSON schemas."""

    def __init__(self, teacher: Teacher, structured: bool, language: Language) -> None:
        self._teacher, self._structured, self._language = teacher, structured, language

    async def score(self, slot: str, question: str, answer: str) -> JudgeScores | str:
        """The scores of an answer, or the beginning of the judge's reply if it has no valid scores.

        An empty reply is requested once more.

        Raises:
            RequestFailedError: The request was given up.
            RunStoppedError: The run must stop.
        """
        language = self._language
        rubric = say(
            "You judge one answer. Score 1 (bad) to 5 (excellent): correct: are the facts, numbers and reasoning "
            "right; helpful: does it answer this very question, completely; format: does it begin with the substance "
            "and read well. Be strict. Reply with JSON: "
            '{"correct": n, "helpful": n, "format": n, "reason": "one sentence"}',
            "你负责评价一个回答。按 1（差）到 5（优）打分：correct，事实、数字和推理是否正确；"
            "helpful，是否完整回答了这个问题；format，是否开门见山、条理清楚。请从严。"
            '只回复 JSON：{"correct": n, "helpful": n, "format": n, "reason": "一句话"}',
            language,
        )
        prompt = say(f"Question:\n{question}\n\nAnswer:\n{answer}", f"问题：\n{question}\n\n回答：\n{answer}", language)
        messages = ({"role": "system", "content": rubric}, {"role": "user", "content": prompt})
        schema = _SCHEMA if self._structured else None
        reply = None
        for name in (slot, f"{slot}/anew"):
            request = TeacherRequest(name, messages, max_tokens=MAX_JUDGE_TOKENS, temperature=0.0, schema=schema)
            reply = await ask_with_room(self._teacher, request)
            if reply.words:
                return parse_scores(reply.words) or shortened(reply.teacher_said, SHOWN_CHARACTERS)
        return shortened(reply.teacher_said, SHOWN_CHARACTERS) if reply else ""


def parse_scores(text: str) -> JudgeScores | None:
    """The scores in a reply, which may have text around its JSON; None without valid scores."""
    value = read_json(text)
    if not isinstance(value, dict):
        match = re.search(r"\{.*\}", text, re.DOTALL)
        value = _parse_json(match[0]) if match else None
    if not isinstance(value, dict):
        return None
    scores = {aspect: value.get(aspect) for aspect in ASPECTS}
    if not all(isinstance(score, int) and 1 <= score <= 5 for score in scores.values()):
        return None
    return JudgeScores({name: int(score) for name, score in scores.items() if score}, str(value.get("reason", "")))


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
