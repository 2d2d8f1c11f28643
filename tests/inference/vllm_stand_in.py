"""A stand-in for vLLM's server: its protocol over HTTP, with one of our engines behind it.

Run as a program, it parses vLLM's arguments, rejects unknown ones, and has no model.
"""

import argparse
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class StandIn:
    """`engine`: any Engine; `loads` and `bodies` record requests."""

    base: str
    engine: Any = None
    key: str = ""
    name: str = "base"
    adapters: dict[str, Path] = field(default_factory=dict)
    loads: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    open: int = 0
    url: str = ""


@contextmanager
def running(base: Path, engine: Any, key: str = "") -> Iterator[StandIn]:
    stand_in = StandIn(str(base), engine, key)
    server = _server(stand_in, 0)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        if engine:
            engine.close()


def _server(stand_in: StandIn, port: int, *, is_up: bool = True) -> ThreadingHTTPServer:
    """Without `is_up` its port is taken, and refuses connections until `server_activate`."""

    class Handler(_Handler):
        state = stand_in

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.server_bind()
    if is_up:
        server.server_activate()
    return server


class _Handler(BaseHTTPRequestHandler):
    state: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {})
        elif self._admitted() and self.path == "/v1/models":
            models = [{"id": self.state.name, "root": self.state.base, "parent": None, "max_model_len": 2048}]
            models += [
                {"id": name, "root": str(path), "parent": self.state.name} for name, path in self.state.adapters.items()
            ]
            self._answer(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._admitted():
            return
        if self.path == "/v1/load_lora_adapter":
            self._load(body["lora_name"], body["lora_path"])
        elif self.path == "/v1/unload_lora_adapter":
            self.state.loads.append(("unload", body["lora_name"]))
            del self.state.adapters[body["lora_name"]]
            self._answer(200, "Success")
        elif body["model"] not in {self.state.name, *self.state.adapters}:
            self._refuse(404, f"The model `{body['model']}` does not exist.")
        elif "prompt_logprobs" in body:
            self._score(body)
        else:
            self._complete(body)

    def _load(self, name: str, path: str) -> None:
        if name in self.state.adapters:
            self._refuse(400, f"The lora adapter '{name}' has already been loaded.")
            return
        self.state.loads.append(("load", name))
        self.state.adapters[name] = Path(path)
        self._answer(200, "Success")

    def _score(self, body: dict[str, Any]) -> None:
        adapter = self.state.adapters.get(body["model"])
        tokens = self.state.engine.score(body["prompt"], adapter, body["prompt_logprobs"]).result(300)
        prompt_logprobs: list[Any] = [None]
        for token in tokens:
            prompt_logprobs.append(
                {str(other): {"logprob": value} for other, value in (*token.top, (token.id, token.logprob))}
            )
        self._answer(200, {"choices": [{"prompt_logprobs": prompt_logprobs, "text": ""}]})

    def _complete(self, body: dict[str, Any]) -> None:
        self.state.bodies.append(body)
        stream = self.state.engine.submit(_generation(body, self.state.adapters.get(body["model"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        self.state.open += 1
        try:
            for token in stream:
                self._chunk({"choices": [_choice(token, None)]})
            reason = stream.finish_reason
            # As in vLLM, the last chunk has the stop token.
            ending = [min(body["stop_token_ids"])] if reason == "stop" else []
            last = {
                "token_ids": ending,
                "logprobs": {"token_logprobs": [-0.1] * len(ending), "top_logprobs": [{}] * len(ending)},
            }
            self._chunk({"choices": [last | {"finish_reason": reason}]})
            usage = {"prompt_tokens": len(body["prompt"]), "prompt_tokens_details": {"cached_tokens": 7}}
            self._chunk({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass  # the client has disconnected
        except Exception as error:
            self._chunk({"error": {"message": str(error)}})
        finally:
            stream.cancel()
            self.state.open -= 1

    def _chunk(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _admitted(self) -> bool:
        if self.state.key and self.headers.get("authorization") != f"Bearer {self.state.key}":
            self._refuse(401, "Unauthorized")
            return False
        return True

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message, "code": status}})

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _generation(body: dict[str, Any], adapter: Path | None) -> Any:
    from luthier.inference import EngineRequest, SamplingParams

    sampling = SamplingParams(
        max_tokens=body["max_tokens"],
        stop_ids=frozenset(body["stop_token_ids"]),
        temperature=body["temperature"],
        top_p=body["top_p"],
        presence_penalty=body["presence_penalty"],
        frequency_penalty=body["frequency_penalty"],
        logit_bias={int(token): bias for token, bias in body.get("logit_bias", {}).items()},
        seed=body["seed"],
        top_logprobs=body["logprobs"],
        grammar=body.get("structured_outputs", {}).get("grammar"),
    )
    return EngineRequest(body["prompt"], sampling, adapter)


def _choice(token: Any, reason: str | None) -> dict[str, Any]:
    best = {f"token_id:{other}": value for other, value in (*token.top, (token.id, token.logprob))}
    logprobs = {"tokens": [f"token_id:{token.id}"], "token_logprobs": [token.logprob], "top_logprobs": [best]}
    return {"token_ids": [token.id], "logprobs": logprobs, "finish_reason": reason}


def main() -> None:
    """`serve BASE` with the arguments that vLLM knows."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("base")
    for name in ("host", "port", "served-model-name", "max-loras", "max-cpu-loras", "max-lora-rank", "dtype"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--generation-config")
    parser.add_argument("--structured-outputs-config.backend")
    parser.add_argument("--enable-lora", action="store_true", required=True)
    parser.add_argument("--enable-prompt-tokens-details", action="store_true")
    arguments = parser.parse_args()
    if os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] != "True":
        parser.error("no adapters at run time")
    stand_in = StandIn(arguments.base, key=os.environ["VLLM_API_KEY"], name=arguments.served_model_name)
    _server(stand_in, int(arguments.port)).serve_forever()


if __name__ == "__main__":
    main()
