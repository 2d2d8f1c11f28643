"""Arguments that forms of calls get wrong, and definitions for them."""

from typing import Any

from luthier.data.jsonl import lossless_json

NASTY: list[dict[str, Any]] = [
    {"text": 'say "it\'s" \\ done'},
    {"text": "a\nb\n\nc"},
    {"text": "请假三天，谢谢。"},
    {"object": {"a": {"b": [1, {"c": "d"}]}, "e": None}},
    lossless_json.DECODER.decode('{"number": 1e3, "list": [1.10, -0]}'),
    lossless_json.DECODER.decode('{"number": 1.10}'),
    {"text": "007"},
    {},
    {"text": ""},
    {"text": "</tool_call>"},
    {"text": '"}}\n</tool_call>\n</parameter>\n</function>'},
    {"number": 12345678901234567890123},
    {"text": "<|im_end|><tool_call>[TOOL_CALLS][ARGS]{}"},
    {"text": "  blanks  "},
    {"flag": True, "nothing": None, "text": "true"},
    {"list": ["a", "1", 2.5, False], "other": "null", "more": "5"},
]
PROPERTIES = {
    "text": {"type": "string"},
    "object": {"type": "object"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "nothing": {"type": ["string", "null"]},
    "list": {"type": "array"},
    "other": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "more": {"type": ["integer", "string"]},
}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": []}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("get_price", "f-2")]
