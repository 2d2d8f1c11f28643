"""An engine in the place of a model that can converse, call and write JSON: what it generates follows from the prompt.

Third-party clients are tested with it: whether they and the server understand each other does not depend on what
a model has learnt.
"""

import json
import re
from pathlib import Path

from luthier.inference import EngineRequest, OnToken
from server.serving import ScriptedEngine, _Script, accepts

HELLO, MORE, DIM, AS_JSON = "Say hello.", "And once more?", "Dim the hallway to 15 percent.", "As JSON: hallway, 15."
DIM_BOTH = "Dim the hallway and the kitchen to 15 percent."
FIRST, SECOND, DONE = "Hello there, 你好!", "Hello again.", "The hallway is at 15 percent."
LIGHT = {"room": "hallway", "brightness": 15}
BOTH = [LIGHT, {"room": "kitchen", "brightness": 15}]


class ActingEngine(ScriptedEngine):
    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self._base = base

    def submit(self, generation: EngineRequest, on_token: OnToken | None = None) -> _Script:
        text = reply(self.tokenizer.decode(generation.prompt, skip_special_tokens=False))
        grammar = generation.sampling.grammar
        if grammar and not accepts(self._base, grammar, text):
            raise AssertionError(f"the request's grammar does not allow {text}")
        self.say(text)
        return super().submit(generation, on_token)


def reply(prompt: str) -> str:
    """To a prompt in ChatML."""
    role, text = prompt.split("<|im_start|>")[-2].split("\n", 1)
    if role == "tool":
        return DONE
    functions = re.findall(r'^{"type": "function", "function": {"name": "([^"]+)"', prompt, re.MULTILINE)
    if DIM_BOTH in text:
        return "\n".join(_call(functions[0], arguments) for arguments in BOTH)
    if DIM in text or (AS_JSON in text and functions):
        return _call(functions[0], LIGHT)
    if AS_JSON in text:
        return json.dumps(LIGHT)
    return SECOND if MORE in text else FIRST


def _call(name: str, arguments: dict[str, object]) -> str:
    """In the form of Hermes."""
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"
