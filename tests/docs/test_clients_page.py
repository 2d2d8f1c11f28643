"""`docs/reference/clients.md` is made from the list of `make test-clients`; `python tests/docs/test_clients_page.py`
makes it anew."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

from conformance.other_clients import CLIENTS, RESPONSES_CLIENTS, RESPONSES_SKILLS, SKILLS, Client, Skill

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "clients.md"
HEAD = """# Clients of other makers

Made from `tests/conformance/other_clients.py` by `python tests/docs/test_clients_page.py`; change it there.

Each of these holds a conversation of two turns, a stream, a tool call with its result and the answer to it, and a
structured output, over chat completions, the Responses API, or both. `make test-clients` installs each in an
environment of its own, with these versions, and runs all of them against a server; it fails where a client does not
get all that its row says.
`OPENAI_BASE_URL` and `OPENAI_API_KEY` point a client to a server, or its own options.

"""
TAIL = """
– is what a client does not offer itself: Instructor and its streams know objects only, `dspy.LM` answers whole, `llm`
talks. With the Agents SDK, `set_tracing_disabled(True)` keeps traces from being sent to OpenAI. The Vercel AI SDK sends
earlier answers as references to stored items, so it needs responses that are stored, which is the default.
"""


def page() -> str:
    chat = _table("chat completions by", CLIENTS, SKILLS)
    return HEAD + chat + "\n" + _table("responses by", RESPONSES_CLIENTS, RESPONSES_SKILLS) + TAIL


def _table(way: str, clients: Sequence[Client], skills: Sequence[Skill]) -> str:
    titles = ("client", "version", way, *skills)
    lines = [titles, ["---"] * len(titles), *(_cells(client, skills) for client in clients)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(client: Client, skills: Sequence[Skill]) -> list[str]:
    marks = ["–" if skill in client.lacks else "yes" for skill in skills]
    return [client.title, f"{client.package} {client.version}", client.way, *marks]


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
