"""A small teacher on loopback that behaves by a script: it answers lists and questions, and misbehaves where told.

What it says hangs on the request alone, so a rerun hears the same. `paid` counts the answers that went out whole.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

Body = dict[str, Any]
_HAN = "天地人和风云山水春夏秋冬金木土火东西南北江河湖海花草树鸟鱼虫牛马羊日月星辰光影书画琴棋茶酒米面油盐"
_WORDS = [
    "river",
    "stone",
    "market",
    "garden",
    "bridge",
    "winter",
    "letter",
    "candle",
    "window",
    "forest",
    "summer",
    "mirror",
    "copper",
    "island",
]


@dataclass
class Fault:
    """What happens to requests that `match`, `times` times; a status without text, or an answer that is not good."""

    match: Callable[[Body], bool]
    times: int = 1
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    finish_reason: str = "stop"
    code: str | None = None
    param: str | None = None


class TeacherServer:
    """`base_url` while the context lasts; `asked` holds every body that came.

    `structured`: whether it answers by a schema; False refuses one with status 400, None takes it and ignores it.
    """

    def __init__(self) -> None:
        self.structured: bool | None = True
        self.faults, self.requests = list[Fault](), list[Body]()
        self.paid, self.answer_at_most = 0, 10**9
        self.prefix = ""  # of every answer to a question
        self.models: dict[str, Body] = {}  # what is listed
        self.wrap: Callable[[str], Body] | None = None  # makes the fields of a message from its text
        self._lock, self._over = Lock(), Event()

    def __enter__(self) -> "TeacherServer":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def fault(self, match: Callable[[Body], bool] | str, **effects: Any) -> None:
        """`match` as text: what the last message contains."""
        matches = match if callable(match) else lambda body: match in body["messages"][-1]["content"]
        self.faults.append(Fault(matches, **effects))

    def respond(self, body: Body) -> tuple[int, dict[str, str], Body] | None:
        """None: the connection is closed without an answer, when the server ends."""
        with self._lock:
            self.requests.append(body)
            if self.structured is False and "response_format" in body:
                return 400, {}, {"error": {"message": "no response_format here", "param": "response_format"}}
            fault = next(
                (candidate for candidate in self.faults if candidate.times > 0 and candidate.match(body)), None
            )
            if fault:
                fault.times -= 1
            holds = self.paid >= self.answer_at_most
            goes_out = not holds and (fault is None or fault.status == 200)
            self.paid += goes_out
        if holds:
            self._over.wait(60)
            return None
        if fault and fault.status != 200:
            error = {"message": f"scripted {fault.status}", "type": "x", "code": fault.code, "param": fault.param}
            return fault.status, fault.headers, {"error": error}
        text = fault.text if fault and fault.text is not None else self.say(body)
        sent = completion(body, text, fault.finish_reason if fault else "stop")
        if self.wrap:
            sent["choices"][0]["message"] |= self.wrap(text)
        return 200, {}, sent

    def say(self, body: Body) -> str:
        """A list where one is asked for, scores for a judge, else an answer."""
        words = body["messages"][-1]["content"]
        dice = random.Random(hashlib.sha256(json.dumps(body["messages"]).encode()).digest())
        if "response_format" in body:
            if not self.structured:
                return self.prefix + sentence(dice, words)  # as one who never read the schema
            properties = body["response_format"]["json_schema"]["schema"]["properties"]
            if "capital" in properties:
                return '{"capital": "Paris"}'
            if "correct" in properties:
                return '{"correct": 5, "helpful": 5, "format": 5, "reason": "fine"}'
            texts = enumerate(listed(dice, words, requested_count(words)), 1)
            return json.dumps({"items": [{"number": n, "text": text} for n, text in texts]})
        if re.search(r"只输出|exactly \d+ lines|this one line", words):
            texts = enumerate(listed(dice, words, requested_count(words)), 1)
            return "\n".join(["好的，以下是问题：", *(f"{n}. {text}" for n, text in texts)])
        return self.prefix + sentence(dice, words)


def listed(dice: random.Random, words: str, count: int) -> list[str]:
    """Phrasings that hold the values where calls are shown, else questions."""
    texts = [question(dice, words) for _ in range(count)]
    for numbers, arguments in re.findall(r"^([\d, ]+): \w+\((\{.*\})\) — ", words, re.MULTILINE):
        values = " ".join(str(value) for value in json.loads(arguments).values())
        for number in numbers.split(","):
            texts[int(number) - 1] += f" {values}."
    return texts


def requested_count(words: str) -> int:
    match = re.search(r"(?:共|写出其中|写出|Write|Name) (\d+)", words)
    return int(match[1]) if match else 1


def question(dice: random.Random, words: str) -> str:
    if re.search(r"[\u4e00-\u9fff]", words):
        return "".join(dice.choices(_HAN, k=14)) + "怎么办？"
    return " ".join(dice.choices(_WORDS, k=9)) + "?"


def sentence(dice: random.Random, words: str) -> str:
    if re.search(r"[\u4e00-\u9fff]", words):
        return "".join(dice.choices(_HAN, k=30)) + "。"
    return " ".join(dice.choices(_WORDS, k=20)).capitalize() + "."


def completion(body: Body, text: str, finish_reason: str) -> Body:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    prompt = sum(len(entry["content"]) for entry in body["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": len(text), "total_tokens": prompt + len(text)}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [choice], "usage": usage}  # fmt: skip


def _handler(teacher: TeacherServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = teacher.respond(body)
            if answer is None:
                self.close_connection = True
                return
            self._send(*answer)

        def do_GET(self) -> None:
            model = teacher.models.get(self.path.rsplit("/", 1)[-1])
            self._send(200, {}, model) if model else self._send(404, {}, {"error": {"message": "no such model"}})

        def _send(self, status: int, headers: dict[str, str], value: Body) -> None:
            raw = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"content-type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
