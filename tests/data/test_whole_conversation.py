"""Answers are placed by one rendering exactly as by rendering every beginning, or not at all."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.template_choice import _FOLDER
from luthier.data.rendering.whole_conversation import cut_by_beginnings, cut_by_offsets, cut_whole
from luthier.types.errors import RenderError
from property_examples import example_count
from tiny import TEMPLATE

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
OPEN = "{% if add_generation_prompt %}<a>{% endif %}"
LOOP = "{% for message in messages %}<{{ message.role[:1] }}>{{ message.content }}</s>\n{% endfor %}"
HEAD = """{%- if messages[0]['role'] == 'system' %}{%- set rules = messages[0].content | trim %}
{%- set messages = messages[1:] %}{%- else %}{%- set rules = '' %}{%- endif %}{{ bos_token + rules }}
{%- if tools %}{% for tool in tools %}{{ tool | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}{% endif %}
"""
# Templates that only append, as makers of models write them; each is placed in linear time.
APPENDING = {
    "chatml": TEMPLATE,
    "tools": "{%- set opening = 'o' -%}\n" + (_FOLDER / "chatml_tools.jinja").read_text(encoding="utf-8"),
    "head": HEAD + LOOP.replace("<{{ message.role[:1] }}>", "<{{ message.role[0] }}>") + OPEN,
    "alternating": "{{ bos_token }}{% for message in messages %}{% if loop.first %}-{% endif %}"
    "<{{ 'a' if message.role == 'assistant' else loop.index0 }}>{{ message.content | trim }}\n{% endfor %}" + OPEN,
    "earlier": "{% for message in messages %}{% if loop.index0 and messages[loop.index0 - 1].role == message.role %}+"
    "{% endif %}<{{ message.role[:1] }}>{{ message.content }}|{% endfor %}" + OPEN,
    "namespace": "{% set ns = namespace(n=0) %}{% for message in messages %}{% set ns.n = ns.n + 1 %}"
    "<{{ message.role[:1] }}>{{ ns.n }}{{ message.content }}\n\n{% endfor %}" + OPEN,
    "macro": "{% macro turn(message) %}<{{ message.role[:1] }}>{{ message.content }}|{% endmacro %}"
    "{% for message in messages %}{{ turn(message) }}{% endfor %}" + OPEN,
    "no opening": "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}",
}
# Templates that look ahead, write after the last turn, or loop more than once: never placed, or only where they do not.
OTHERS = {
    "length": "{% for message in messages %}{{ loop.length }}<a>{{ message.content }}{% endfor %}" + OPEN,
    "count": "{% for message in messages %}{{ messages | length }}{{ message.content }}{% endfor %}" + OPEN,
    "last": "{% for message in messages %}<a>{{ message.content }}{% if loop.last %}!{% endif %}{% endfor %}" + OPEN,
    "next": "{% for message in messages %}<a>{{ message.content }}{{ loop.nextitem.role }}{% endfor %}" + OPEN,
    "next result": "{% for message in messages %}<{{ message.role[:1] }}>{{ message.content }}"
    "{% if message.role == 'user' and (loop.last or messages[loop.index0 + 1].role != 'user') %}.{% endif %}"
    "{% endfor %}" + OPEN,
    "final": "{% set final = messages[-1].content %}" + LOOP + OPEN,
    "thoughts": "{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% if m.role == 'user' and not ns.n %}"
    "{% set ns.n = messages | length - loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}<{{ m.role[:1] }}>"
    "{{ m.content if loop.index > ns.n else m.content.split('b')[-1] }}\n{% endfor %}" + OPEN,
    "scan": "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.s = m.content %}{% endif %}{% endfor %}{{ ns.s }}" + LOOP + OPEN,
    "state": "{% set ns = namespace(last='') %}{% for m in messages %}{% set ns.last = m.role %}<{{ m.role[:1] }}>"
    "{{ m.content }}{% endfor %}{% if add_generation_prompt and ns.last != 'tool' %}<a>{% endif %}",
    "flag inside": "{% for m in messages %}{% if add_generation_prompt %}+{% endif %}<a>{{ m.content }}{% endfor %}"
    + OPEN,
    "end": LOOP + "{% if not add_generation_prompt %}</s>{% endif %}" + OPEN,
    "buffered": "{% set text %}" + LOOP + "{% endset %}{{ text }}" + OPEN,
    "filtered": "{% for m in messages if m.content %}<{{ m.role[:1] }}>{{ m.content }}{{ loop.last }}{% endfor %}"
    + OPEN,
    "left": "{% for m in messages %}{% if m.content == 'b' %}{% break %}{% endif %}<a>{{ m.content }}{% endfor %}"
    + OPEN,
    "refusing": "{% for m in messages %}{% if m.content == 'b' %}{{ raise_exception('no') }}{% endif %}<a>"
    "{{ m.content }}{% endfor %}" + OPEN,
    "sequence": "{% if messages is sequence %}S{% endif %}" + LOOP + OPEN,
    "contains": "{% for m in messages %}<a>{{ m.content }}{{ m in messages }}{% endfor %}" + OPEN,
}  # fmt: skip
TEMPLATES = {name: Template(text, TOKENS) for name, text in (APPENDING | OTHERS).items()}
ROLES = ("user", "assistant", "tool")
conversations = st.lists(
    st.tuples(st.sampled_from(ROLES), st.sampled_from(["", "a", "b", " \n", "x\n\n", "ab<a>"])), max_size=12
)


def placed(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except RenderError as error:
        return str(error)


@pytest.mark.parametrize("name", [*APPENDING, *OTHERS])
@settings(max_examples=example_count(20))
@given(conversation=conversations, has_system=st.booleans(), answer_next=st.booleans(), has_tools=st.booleans())
def test_both_ways_place_answers_alike(
    name: str, conversation: list[tuple[str, str]], has_system: bool, answer_next: bool, has_tools: bool
) -> None:
    template = TEMPLATES[name]
    messages = [{"role": "system", "content": "s"}] * has_system
    messages += [{"role": role, "content": content} for role, content in conversation]
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"] if has_tools else None
    quick = cut_by_offsets(template, messages, tools, answer_next)
    assert quick is None or quick == placed(cut_by_beginnings, template, messages, tools, answer_next)


def chat(turns: int) -> list[dict[str, Any]]:
    return [{"role": ROLES[number % 2], "content": f"b{number}"} for number in range(turns)]


@pytest.mark.parametrize("name", APPENDING)
def test_templates_that_append_are_rendered_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template, renderings = TEMPLATES[name], []
    render = Template.render
    monkeypatch.setattr(Template, "render", lambda *args, **kw: renderings.append(1) or render(*args, **kw))
    segments = cut_whole(template, chat(400), None)
    assert sum(segment.message is not None for segment in segments) == 200
    assert len(renderings) == 2


def test_time_grows_with_the_turns_and_not_with_their_square() -> None:
    template = Template(TEMPLATE, TOKENS)
    start = time.thread_time()
    cut_whole(template, chat(8000), None)
    assert time.thread_time() - start < 2  # rendering every beginning takes a minute
