"""`docs/reference/clients.md` lists the clients of `make test-clients`; `python tests/docs/test_clients_page.py`
makes the lists anew."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

from conformance.other_clients import CLIENTS, RESPONSES_CLIENTS, RESPONSES_SKILLS, SKILLS, Client, Skill
from generated_pages import fill, pages, table

PAGES = pages("clients")
COMMAND = "python tests/docs/test_clients_page.py"
CHINESE = {
    "client": "客户端",
    "version": "版本",
    "chat completions by": "对话补全的用法",
    "responses by": "响应的用法",
    "conversation": "对话",
    "stream": "流式",
    "tool call": "函数调用",
    "parallel calls": "并行调用",
    "structured output": "结构化输出",
    "yes": "是",
    "its default": "默认",
    "older": "旧版本",
}
_ENGLISH = re.compile(r"|".join(rf"(?<![\w`]){term}(?![\w`])" for term in sorted(CHINESE, key=len, reverse=True)))


def page(language: str) -> str:
    chat = ["chat completions by", *SKILLS], _rows(CLIENTS, SKILLS)
    responses = ["responses by", *RESPONSES_SKILLS], _rows(RESPONSES_CLIENTS, RESPONSES_SKILLS)
    tables = [table(["client", "version", *titles], rows) for titles, rows in (chat, responses)]
    if language == "zh":
        tables = [_ENGLISH.sub(lambda term: CHINESE[term[0]], text) for text in tables]
    return fill(PAGES[language], dict(zip(("chat completions", "responses"), tables, strict=True)))


def _rows(clients: Iterable[Client], skills: Sequence[Skill]) -> Iterable[list[str]]:
    for client in clients:
        marks = ["–" if skill in client.lacks else "yes" for skill in skills]
        yield [client.title, f"{client.package} {client.version}", client.way, *marks]


@pytest.mark.parametrize("language", PAGES)
def test_the_page_is_current(language: str) -> None:
    assert PAGES[language].read_text(encoding="utf-8") == page(language), f"run: {COMMAND}"


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
