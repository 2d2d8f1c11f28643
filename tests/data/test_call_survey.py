"""Arguments that a file copies from its conversations are found, and held to spans of a new one."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

from luthier.data.examples.call_survey import MAX_CHARACTERS, MIN_VALUES, CallSurvey, CopySource, merge_inferred
from luthier.data.examples.tool_definitions import Tools
from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.copy_grammar import CopyRules
from templates import write_base

CITIES = ["Oslo", "New York", "上海", "São Paulo", "St. John's"]


def chat(question: str, **arguments: Any) -> list[dict[str, Any]]:
    call = {"function": {"name": "book", "arguments": json.dumps(arguments, ensure_ascii=False)}}
    return [
        {"role": "system", "content": "You work in Oslo."},
        {"role": "user", "content": question},
        {"role": "assistant", "tool_calls": [call]},
    ]


def copied(conversations: Sequence[list[dict[str, Any]]]) -> dict[str, list[str]]:
    counter = CallSurvey()
    for messages in conversations:
        counter.add(messages)
    return counter.copied()


def test_only_what_is_always_copied() -> None:
    conversations = [
        chat(
            f"Book {CITIES[number % 5]} for {number + 2} people, cheap, for {number}k",
            city=CITIES[number % 5], people=number + 2, budget=number * 1000, price="low", part=CITIES[number % 5][:2],
            sure=True,
        )
        for number in range(20)
    ]  # fmt: skip
    assert copied(conversations) == {"book": {"city": ["for"], "people": None, "budget": None}}
    assert copied(conversations[: MIN_VALUES - 1]) == {"book": {}}
    assert copied([*conversations, chat("Book something", city="Rome")]) == {"book": {"people": None, "budget": None}}


def test_functions_without_definitions_are_those_of_their_calls() -> None:
    conversations = [chat("Oslo?", city="Oslo", people=2, **({"vip": True} if number else {})) for number in range(10)]
    rare = {"role": "assistant", "function_call": {"name": "rare", "arguments": '{"x": 1}'}}
    survey = CallSurvey()
    for messages in [*conversations, [rare]]:
        survey.add(messages)
    book, other_function = survey.definitions(())
    properties = {"city": {"type": "string"}, "people": {"type": "number"}, "vip": {"type": "boolean"}}
    assert book["function"] == {
        "name": "book",
        "parameters": {
            "type": "object", "properties": properties, "required": ["city", "people"], "additionalProperties": False,
        },
    }  # fmt: skip
    assert other_function["function"]["parameters"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": True,
    }
    assert survey.definitions({"book", "rare"}) == []


def inferred(spans: Sequence[str], question: str = "How is it doing?") -> Tools:
    """The definitions of calls with an argument that has these values, one in each call."""
    survey = CallSurvey()
    for span in spans:
        survey.add(chat(question, span=span))
    return survey.definitions(())


def span_schema(spans: Sequence[str], question: str = "How is it doing?") -> dict[str, Any]:
    (definition,) = inferred(spans, question)
    schema: dict[str, Any] = definition["function"]["parameters"]["properties"]["span"]
    return schema


def test_repeated_values_that_stand_in_no_question_are_a_choice() -> None:
    spans = ["3m", "1y", "近3年"] * 4
    choice = {"type": "string", "enum": ["1y", "3m", "近3年"]}
    assert span_schema(spans) == choice
    assert span_schema([*spans, "1w"]) == {**choice, "enum": ["1w", "1y", "3m", "近3年"]}  # 1 of 13 is new


@pytest.mark.parametrize(
    ("spans", "question"),
    [
        (["3m", "1y"] * 6, "How was it in 3m or 1y?"),
        (["3m", "1y"] * 6 + ["1w", "5y"], "?"),
        ([f"{number}d" for number in range(65)] * 2, "?"),
    ],
    ids=["copied", "new values still come", "too many"],
)
def test_other_texts_are_no_choice(spans: list[str], question: str) -> None:
    assert span_schema(spans, question) == {"type": "string"}


@pytest.mark.parametrize(
    ("older_spans", "merged"),
    [
        (["1y", "5y"] * 5, {"type": "string", "enum": ["1y", "3m", "5y"]}),
        ([f"{number}d" for number in range(10)], {"type": "string"}),
        (["1y"], {"type": "string"}),
    ],
    ids=["two choices", "free before", "too few calls before"],
)
def test_a_choice_keeps_what_an_earlier_file_taught(older_spans: list[str], merged: dict[str, Any]) -> None:
    newer, older = (inferred(spans) for spans in (["3m", "1y"] * 5, older_spans))
    (definition,) = merge_inferred(newer, older)
    assert definition["function"]["parameters"]["properties"]["span"] == merged
    assert newer == inferred(["3m", "1y"] * 5)


@pytest.mark.parametrize("number_of_copies", [99, 100])
def test_a_mistake_in_a_hundred_is_forgiven(number_of_copies: int) -> None:
    conversations = [chat("To Oslo", city="Oslo")] * (number_of_copies - 1) + [chat("To Osla", city="Oslo")]
    assert copied(conversations) == {"book": {"city": [""]} if number_of_copies == 100 else {}}


def test_values_of_earlier_turns_and_results_count_and_the_system_prompt_does_not() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "To Rome"}]},
        {"role": "assistant", "content": "When?"},
        {"role": "tool", "content": "on Friday"},
        {
            "role": "assistant",
            "function_call": {"name": "fly", "arguments": '{"to": "Rome", "day": "Friday", "by": "Oslo"}'},
        },
        {"role": "assistant", "function_call": {"name": "broken", "arguments": "{"}},
    ]
    assert copied([[{"role": "system", "content": "Oslo"}, *turns]] * MIN_VALUES) == {"fly": {"to": [""], "day": [""]}}


def tool(**properties: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": "book", "parameters": {"type": "object", "properties": properties}},
    }


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_file(str(write_base(tmp_path_factory.mktemp("base"), "", []) / "tokenizer.json"))


Takes = Callable[..., bool]


@pytest.fixture(scope="module")
def takes(tokenizer: Tokenizer) -> Takes:
    """Whether a definition takes arguments after a question, once `city`, `people` and `price` are copied."""

    grammar_tokenizer = LLTokenizer(tokenizer.to_str(), eos_token=[tokenizer.token_to_id("<eos>")])

    def takes(definition: dict[str, Any], question: str, arguments: str, ends: list[str] | None = None) -> bool:
        messages = [{"role": "system", "content": "Rome 77"}, {"role": "user", "content": question}]
        copies = CopyRules(CopySource(messages))
        (definition_of_copies,) = copies.hold([definition], {"book": {"city": ends, "people": None, "price": None}})
        rules = [*argument_rules("start", close_schema(definition_of_copies["function"]["parameters"])), *copies.lark()]
        grammar = "%llguidance {}\n" + "\n".join(rules) + "\n"
        matcher = LLMatcher(grammar_tokenizer, grammar)
        assert not matcher.is_error(), matcher.get_error()
        ids = tokenizer.encode(arguments, add_special_tokens=False).ids
        return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())

    return takes


TYPED = tool(city={"type": "string"}, people={"type": "integer"}, price={"type": "number"})


@pytest.mark.parametrize(
    ("question", "valid", "invalid"),
    [
        (
            "Book the St. John's Inn in New York for 12 people, 4.5 stars",
            [
                '{"city": "New York", "people": 12}', '{"city": "St. John\'s"}', '{"price": 4.5}',
                '{"price": 12, "city": "Inn"}', "{}",
            ],
            [
                '{"city": "New Yor"}', '{"city": "york"}', '{"city": "Rome"}', '{"people": 1}', '{"people": 77}',
                '{"people": 4}', '{"price": 4}', '{"city": "New Inn"}',
            ],
        ),
        ("在上海订45万的房", ['{"city": "上海", "price": 450000, "people": 45}'], ['{"city": "上订"}']),
        ('Say "a\\b"\n{"$ref": 1} for two', ['{"city": "\\"a\\\\b\\"\\n"}', '{"people": 2}'], ['{"city": "b a"}']),
        ("No value", ['{"people": 3, "price": -0.5}'], ['{"city": "Rome"}']),
        ("x" * (MAX_CHARACTERS + 1), ['{"city": "Rome", "people": 3}'], ['{"people": "3"}']),
    ],
)  # fmt: skip
def test_copies_are_spans_and_stated_numbers(question: str, valid: list[str], invalid: list[str], takes: Takes) -> None:
    assert [text for text in valid if not takes(TYPED, question, text)] == []
    assert [text for text in invalid if takes(TYPED, question, text)] == []


def test_long_conversations_are_not_compared() -> None:
    long = [chat("x" * MAX_CHARACTERS + " Oslo", city="Rome")] * 50
    assert copied([*long, *[chat("Oslo", city="Oslo")] * MIN_VALUES]) == {"book": {"city": [""]}}
    assert copied(long) == {"book": {}}


def test_what_follows_a_value_is_learnt_where_it_is_always_known() -> None:
    ends = ["for", "on", "?", ""]
    places = [chat(f"Go to {CITIES[number % 5]} {ends[number % 4]}", city=CITIES[number % 5]) for number in range(40)]
    numbers = [chat(f"Go to Oslo {number} times", city="Oslo") for number in range(10)]
    assert copied(places) == {"book": {"city": ["", "?", "for", "on"]}}
    assert copied(numbers) == {"book": {"city": ["0"]}}
    assert copied([*places, chat("Go to Oslo now", city="Oslo")]) == {"book": {"city": None}}
    assert copied([*places, *[chat("Go to Oslo now", city="Oslo")] * 2])["book"]["city"] == [
        "",
        "?",
        "for",
        "now",
        "on",
    ]


@pytest.mark.parametrize(
    ("question", "valid", "invalid"),
    [
        ("打开地下室的灯", ["地下室", "开地下室", "室"], ["地下", "地", "灯", "打开地下室的"]),
        ('Put the old "A\\B" lamp 的', ['the old "A\\B" lamp', "lamp"], ["the old", "lam"]),
        ("没有", ["没", "没有"], ["无"]),
    ],
)
def test_values_end_where_values_end(question: str, valid: list[str], invalid: list[str], takes: Takes) -> None:
    """Without such a place, at any."""

    def accepted(value: str) -> bool:
        return takes(TYPED, question, json.dumps({"city": value}, ensure_ascii=False), ends=["的"])

    assert [value for value in valid if not accepted(value)] == []
    assert [value for value in invalid if accepted(value)] == []


def test_too_many_places_to_list_are_all_allowed(takes: Takes) -> None:
    question = "".join(f"{chr(ord('丁') + number)}的" for number in range(40))
    assert takes(TYPED, question, '{"city": "丁的"}', ends=["的"])
    assert not takes(TYPED, question, '{"city": "丁丁"}', ends=["的"])


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "enum": ["Rome", "Bonn"]}, '{"city": "Bonn"}'),
        ({"type": "string", "pattern": "^B"}, '{"city": "Bonn"}'),
        ({"type": ["string", "null"]}, '{"city": null}'),
        ({"type": "integer", "enum": [5]}, '{"city": 5}'),
        ({"type": "integer", "maximum": 5}, '{"city": 5}'),
        ({}, '{"city": [1]}'),
    ],
)
def test_a_schema_that_says_more_is_kept(schema: dict[str, Any], text: str, takes: Takes) -> None:
    assert takes(tool(city=schema), "To Oslo for 7", text)


def test_other_functions_and_nested_members_are_kept(takes: Takes) -> None:
    other_function = tool(city={"type": "string"})
    other_function["function"]["name"] = "other"
    assert takes(other_function, "To Oslo", '{"city": "Rome"}')
    nested = tool(place={"type": "object", "properties": {"city": {"type": "string"}}})
    assert takes(nested, "To Oslo", '{"place": {"city": "Rome"}}')
