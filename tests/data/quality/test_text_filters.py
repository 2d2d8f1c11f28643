"""What the fast filters over many texts let through holds every text in which the full checks find something."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from luthier.data.check.file_check import check_file
from luthier.data.check.quality.damaged_text import _CONTROL, _RESIDUE
from luthier.data.check.quality.misread_text import misread_text
from luthier.data.check.quality.number_fingerprint import number_fingerprints
from luthier.data.check.quality.preamble import may_start_with_preamble, strip_preamble
from luthier.data.check.quality.refusal import is_refusal, named_maker
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.check.quality.secrets_and_pii import personal_data_in, secrets_in
from luthier.data.check.quality.truncation import is_cut_off, may_be_cut_off
from luthier.data.check.quality.written_marks import _CALL, _INVISIBLE
from luthier.data.jsonl.sequence_hashes import sequence_hash, sequence_hashes, text_hashes

_OPENINGS = (
    "好的，|当然可以！|没问题。|您好！|作为一名顾问，|很高兴为您解答：|感谢您的提问！|Sure, |OK! |Alright. |"
    "All right: |Got it. |Understood! |No problem. |Happy to help! |Glad to help. |My pleasure! |"
    "I'm happy to help! |I’m glad to help. |I am happy to help! |That's a great question! |"
    "What a good question. |Great! |Good question! |Excellent question. |Interesting question! |Fantastic question! |"
    "Thanks for asking! |Certainly! |Of course! |Absolutely! |Definitely! |Perfect! |"
    "Hello there! |Hi! |As an expert, I will "
)
_TRACES = (
    "As an AI language model, I cannot say.|很抱歉，我无法回答这个问题。|我是由某公司训练的助手|I am ChatGPT.|"
    "sk-abcdefghij0123456789XY|password: s3cret-and-long|口令：abcd12345|li.lei@firm.example|13912345670|"
    "11010519491231002X|DE89370400440532013000|涓栫晫|Ð¼Ð¸Ñ€Ñƒ|锟斤拷|\ufffd|😀𝔘|…|，|、|3.|\n-|\n2)|and|的|```|\n|"
    "\x01|\x0crac|\x7f|\times|\theta|\text{if}|\tau |\tanh |\rho |\right|\rangle|\rm{x}|\neq |\nabla |\nu = 1|\notin|"
    "<tool_call>{|[TOOL_CALLS]|<function=f>|</think>|<think>|\u200b|\ufeff|\u202e|&amp;|\\u732b|=C3=A9"
)
OPENINGS, TRACES = _OPENINGS.split("|"), _TRACES.split("|")


def _texts(seed: int, count: int = 300) -> list[str]:
    generator = random.Random(seed)
    bodies = ("The fund holds bonds and pays interest each quarter", "基金分散投资于多只股票，风险较低", "1. a\n2. b")

    def text() -> str:
        opening = generator.choice(OPENINGS)
        opening = generator.choice(("", opening, opening.upper(), opening.lower(), " \n\u3000" + opening))
        body = generator.choice(bodies) * generator.randint(1, 3) + generator.choice((".", "。", "", "!"))
        place = generator.choice((0, len(body), generator.randint(0, len(body))))
        return opening + body[:place] + generator.choice(("", *TRACES)) + body[place:]

    return [text() for _ in range(count)]


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("write", [str, str.upper, str.lower, "\n {}".format, "\u3000{}".format])
def test_every_preamble_passes_the_filter(opening: str, write: Callable[[str], str]) -> None:
    texts = [
        write(opening) + body
        for body in ("here is the answer: 42 percent", "以下是答案：分散投资", "Bonds pay interest.")
    ]
    texts = [text for text in texts if strip_preamble(text) is not None]
    assert may_start_with_preamble(texts) == list(range(len(texts)))


@pytest.mark.parametrize("seed", range(3))
def test_every_cut_off_text_passes_the_filter(seed: int) -> None:
    texts = [text for text in _texts(seed) if is_cut_off(text) and "```" not in text]
    assert len(texts) > 10
    assert may_be_cut_off(texts) == list(range(len(texts)))


@pytest.mark.parametrize("seed", range(3))
def test_a_file_has_the_findings_of_its_texts(seed: int, tmp_path: Path) -> None:
    path, texts = tmp_path / "train.jsonl", _texts(seed)
    question = "Why? 为什么 мир"  # with letters of a third script, so that answers with some are in order
    examples = [[{"role": "user", "content": question}, {"role": "assistant", "content": text}] for text in texts]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in examples))
    full: dict[str, Callable[[str], object]] = {
        "refusal": is_refusal,
        "identity_leak": named_maker,
        "answer_cut_off": is_cut_off,
        "secret": lambda text: list(secrets_in(text)),
        "personal_data": lambda text: list(personal_data_in(text)),
        "escape_damage": _CONTROL.search,
        "escape_residue": lambda text: _RESIDUE.search(text) and "```" not in text,
        "call_as_text": lambda text: _CALL.search(text) and "```" not in text,
        "invisible_character": _INVISIBLE.search,
        "garbled_text": lambda text: "\ufffd" in text or "锟斤拷" in text or misread_text(text),
    }
    counts = check_file(path, quality=QualityRunner()).counts
    for code, search in full.items():
        assert counts[code] == sum(map(bool, map(search, texts))) > 0, code


@pytest.mark.parametrize("sizes", [[1], [0, 3, 0, 1], [5, 5, 0], [40, 2], [0, 0]])
def test_many_sequences_hash_as_each_alone(sizes: list[int]) -> None:
    texts = [str(number) for number in range(sum(sizes))]
    ends = np.cumsum(sizes)
    begins = ends - np.array(sizes)
    alone = [sequence_hash(map(hash, texts[begin:end])) for begin, end in zip(begins, ends, strict=True)]
    assert sequence_hashes(text_hashes(texts), begins, ends).tolist() == alone


def test_hashes_tell_places_lengths_and_texts_apart() -> None:
    sequences = [
        [],
        [""],
        ["", ""],
        ["a"],
        ["a", ""],
        ["", "a"],
        ["a", "b"],
        ["b", "a"],
        ["a", "b", "c"],
        ["a", "b", "d"],
    ]
    assert len({sequence_hash(map(hash, sequence)) for sequence in sequences}) == len(sequences)


def test_digits_of_every_script_are_numbers() -> None:
    texts = ["a", "a 12", "٣ b", "๓", "\U0001d7d8", "\U0001fbf0", "“a”", "가", "三", "½"]
    hashes = number_fingerprints(texts)
    assert [value != 0 for value in hashes] == [any(map(str.isdecimal, text)) for text in texts]
    assert len({*number_fingerprints(["1 2", "12", "2 1", "1. 2"]).tolist()}) == 3
