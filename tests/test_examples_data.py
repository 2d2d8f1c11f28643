"""The shipped example sets and the fixture sets: well-formed, grounded in the user's words, and of the stated size."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "src" / "luthier" / "examples"
FIXTURES = ROOT / "tests" / "fixtures"
SMART_HOME = EXAMPLES / "smart_home.jsonl"
FINANCE = ROOT / "examples" / "finance_qa_data.jsonl"
LEAVE_LETTERS = [EXAMPLES / f"leave_letter.{name}.json" for name in ("values", "held_out")]
SHORT_QA = FIXTURES / "short_qa.jsonl"

TOOLS: list[dict[str, Any]] = json.loads((EXAMPLES / "smart_home.tools.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, dict[str, Any]] = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
FUNCTIONS = ["set_light", "set_temperature", "play_music", "lock_door", "set_timer", "add_to_list"]
TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}
REPLIES = {"You're welcome.", "Hello, the house is ready.", "I can only help with the house."}
PREAMBLES = ("好的", "好，", "当然", "可以，", "没问题", "您好", "你好", "以下", "关于", "作为", "很高兴", "感谢")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def problems(name: str, arguments: object) -> list[str]:
    """What is wrong with a call, judged by the tool definitions; empty when nothing is."""
    if name not in SCHEMAS:
        return [f"no function {name}"]
    if not isinstance(arguments, dict):
        return ["arguments are not an object"]
    schema = SCHEMAS[name]
    match = [f"{key} is missing" for key in schema["required"] if key not in arguments]
    for key, value in arguments.items():
        rule = schema["properties"].get(key)
        if rule is None:
            match.append(f"{key} is not a parameter")
        elif type(value) is not TYPES[rule["type"]]:
            match.append(f"{key} is not of type {rule['type']}")
        elif "enum" in rule and value not in rule["enum"]:
            match.append(f"{key} is not one of the allowed values")
        elif "minimum" in rule and value < rule["minimum"]:
            match.append(f"{key} is below {rule['minimum']}")
        elif "maximum" in rule and value > rule["maximum"]:
            match.append(f"{key} is above {rule['maximum']}")
    return match


def plain(sentence: str) -> str:
    return " ".join(re.findall(r"\w+", sentence.lower()))


def says(sentence: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", sentence) is not None


def smart_home_calls() -> list[tuple[str, str, dict[str, Any]]]:
    """(user's sentence, function, arguments) of every example that calls."""
    calls = []
    for example in read_jsonl(SMART_HOME):
        _, user, assistant = example["messages"]
        for call in assistant.get("tool_calls", []):
            calls.append((user["content"], call["function"]["name"], json.loads(call["function"]["arguments"])))
    return calls


@pytest.mark.parametrize("path", [SMART_HOME, FINANCE, SHORT_QA], ids=lambda path: path.stem)
def test_plain_jsonl(path: Path) -> None:
    raw = path.read_bytes()
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    assert raw.endswith(b"\n")
    for line in raw.decode("utf-8").removesuffix("\n").split("\n"):
        example = json.loads(line)
        assert list(example) == ["messages"]
        assert line == json.dumps(example, ensure_ascii=False)


@pytest.mark.parametrize("path", [SMART_HOME, FINANCE, SHORT_QA], ids=lambda path: path.stem)
def test_user_sentences_are_distinct(path: Path) -> None:
    sentences = [
        plain(message["content"])
        for example in read_jsonl(path)
        for message in example["messages"]
        if message["role"] == "user"
    ]
    assert [sentence for sentence, n in Counter(sentences).items() if n > 1] == []


def test_tool_definitions() -> None:
    assert [tool["function"]["name"] for tool in TOOLS] == FUNCTIONS
    for tool in TOOLS:
        assert tool["type"] == "function"
        assert tool["function"]["description"]
        schema = tool["function"]["parameters"]
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        assert {rule["type"] for rule in schema["properties"].values()} <= set(TYPES)


def test_smart_home_sizes() -> None:
    examples = read_jsonl(SMART_HOME)
    counts = Counter(name for _, name, _ in smart_home_calls())
    assert len(examples) == 170
    assert set(counts) == set(FUNCTIONS)
    assert set(counts.values()) == {25, 26}
    assert len(examples) - counts.total() == 17


def test_smart_home_shape() -> None:
    for example in read_jsonl(SMART_HOME):
        system, user, assistant = example["messages"]
        assert system == {"role": "system", "content": "You run the house. Call a function."}
        assert user["role"] == "user"
        assert user["content"].strip() == user["content"] != ""
        assert assistant["role"] == "assistant"
        if "tool_calls" not in assistant:
            assert assistant["content"] in REPLIES
            continue
        assert assistant["content"] is None
        (call,) = assistant["tool_calls"]
        assert (call["id"], call["type"]) == ("call_1", "function")
        assert list(call["function"]) == ["name", "arguments"]


def test_smart_home_calls_fit_the_definitions() -> None:
    for sentence, name, arguments in smart_home_calls():
        assert problems(name, arguments) == [], sentence
        assert list(arguments) == SCHEMAS[name]["required"], sentence


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("open_window", {}),
        ("set_light", []),
        ("set_light", {"room": "kitchen"}),
        ("set_light", {"room": "kitchen", "brightness": "40"}),
        ("set_light", {"room": "kitchen", "brightness": True}),
        ("set_light", {"room": "kitchen", "brightness": 101}),
        ("set_light", {"room": "kitchen", "brightness": -1}),
        ("set_light", {"room": "attic", "brightness": 40}),
        ("set_light", {"room": "kitchen", "brightness": 40, "colour": "red"}),
        ("lock_door", {"door": "front", "locked": 1}),
    ],
)
def test_a_wrong_call_is_noticed(name: str, arguments: object) -> None:
    assert problems(name, arguments) != []


def test_smart_home_arguments_follow_from_the_sentence() -> None:
    for sentence, _, arguments in smart_home_calls():
        low = sentence.lower()
        numbers = [int(number) for number in re.findall(r"\d+", low)]
        for key, value in arguments.items():
            if key == "locked":
                assert value is not ("unlock" in low), sentence
                assert "lock" in low, sentence
            elif key == "brightness" and not numbers:
                assert says(low, "off") is (value == 0), sentence
                assert says(low, "full") is (value == 100), sentence
                assert value in (0, 100), sentence
            elif isinstance(value, int):
                assert numbers == [value], sentence
            elif key == "door":
                assert says(low, f"{value} door"), sentence
            elif key == "list":
                assert says(low, f"{value} list"), sentence
            else:
                assert says(low, value), sentence


def test_smart_home_sentences_name_one_room_door_and_list() -> None:
    rooms = SCHEMAS["set_light"]["properties"]["room"]["enum"]
    doors = SCHEMAS["lock_door"]["properties"]["door"]["enum"]
    for sentence, name, _ in smart_home_calls():
        low = sentence.lower()
        assert sum(says(low, room) for room in rooms) == (name in {"set_light", "set_temperature", "play_music"})
        assert sum(says(low, f"{door} door") for door in doors) == (name == "lock_door")
        assert len(re.findall(r"\blist\b", low)) == (name == "add_to_list")


def test_smart_home_values_recur_in_different_combinations() -> None:
    partners: dict[tuple[str, str, str], set[object]] = {}
    for _, name, arguments in smart_home_calls():
        for key, value in arguments.items():
            if isinstance(value, str):
                other = next(v for k, v in arguments.items() if k != key)
                partners.setdefault((name, key, value), set()).add(other)
    least = {observed: 2 if observed[0] == "lock_door" else 3 for observed in partners}
    assert [observed for observed, others in partners.items() if len(others) < least[observed]] == []


def test_finance_set() -> None:
    examples = read_jsonl(FINANCE)
    assert len(examples) == 25
    answers = set()
    for example in examples:
        system, user, assistant = example["messages"]
        assert [m["role"] for m in example["messages"]] == ["system", "user", "assistant"]
        assert system["content"] == "你是一个金融领域的智能助理,能够专业地回答用户的金融问题。"
        assert user["content"].endswith("？")
        answer = assistant["content"]
        assert not answer.startswith(PREAMBLES), answer
        assert answer.endswith("。"), answer
        assert 40 <= len(re.findall(r"[\u4e00-\u9fff]", answer)) <= len(answer) <= 70, answer
        answers.add(answer)
    assert len(answers) == 25


def test_short_qa_set() -> None:
    examples = read_jsonl(SHORT_QA)
    assert len(examples) == 12
    answers = set()
    for example in examples:
        user, assistant = example["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert "Alder & Finch" in user["content"]
        assert 3 <= len(assistant["content"].split()) <= 9, assistant["content"]
        answers.add(assistant["content"])
    assert len(answers) == 12


def test_held_out_leave_letters_share_no_value_with_those_learnt() -> None:
    """No value or small talk of one file is in the other, so that no right call was learnt by heart; the wordings are
    the same, so that nothing else is measured."""
    learnt, held_out = (json.loads(path.read_text(encoding="utf-8")) for path in LEAVE_LETTERS)
    values, others = (entry["values"]["write_leave_letter"] for entry in (learnt, held_out))
    assert list(values) == list(others) == ["name", "dept", "position", "reason", "days"]
    for key, names in values.items():
        assert len(set(names)) == len(names) > len(set(others[key])) == len(others[key]) >= 10, key
        assert set(names).isdisjoint(others[key]), key
    assert learnt["phrasings"] == held_out["phrasings"]
    body, unseen = ({pair["user"] for pair in entry["no_call"]} for entry in (learnt, held_out))
    assert body.isdisjoint(unseen)


def test_chinese_smart_home_arguments_follow_from_the_sentence() -> None:
    examples = read_jsonl(EXAMPLES / "smart_home.zh.jsonl")
    assert len(examples) >= 170
    sentences = [example["messages"][1]["content"] for example in examples]
    assert len(set(sentences)) == len(sentences)
    closed = {"closed": "关合拉上", "open": "开"}
    for example, sentence in zip(examples, sentences, strict=True):
        (call,) = example["messages"][-1]["tool_calls"]
        for name, value in json.loads(call["function"]["arguments"]).items():
            if name == "state":
                assert any(character in sentence for character in closed[value]), sentence
            elif value not in (0, 100):
                assert str(value) in sentence, sentence
