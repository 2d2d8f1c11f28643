"""A server under mixed requests for an hour: its memory, and whether any answer failed.

    python benchmarks/soak.py [--minutes 60] [--rate 4] [--base FOLDER] [--json FILE]

Three fine-tuned models of a tiny base (or of `--base`) and the base itself are asked in turns: whole answers, streams,
streams that are hung up on, constrained documents, calls, several answers at once, log-probabilities, embeddings, a
file that is uploaded, read and deleted, and bad requests. Once a minute it prints the server's resident memory; at
the end, how much the median of the last third lies above that of the third before.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai import BadRequestError, OpenAI

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests")]

from local_server import resident_mb, serve_process, upload_pairs  # noqa: E402

from tiny import make_tiny_base  # noqa: E402

PREFIXES = 8_000_000  # bytes: a cache that still fills looks like growth, and this one is soon full
COUNT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TOOL: Any = {"type": "function", "function": {"name": "count", "parameters": COUNT}}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "count", "schema": COUNT, "strict": True}}


class Load:
    """Requests of many kinds, with words and sizes that differ each time."""

    def __init__(self, client: OpenAI, models: list[str]) -> None:
        self.client, self.models, self.chance = client, models, random.Random(1)
        self.kinds: list[Callable[[], object]] = [
            *(self.whole, self.stream, self.hang_up, self.document, self.call),
            *(self.several, self.logprobs, self.embed, self.file, self.bad),
        ]

    def complete(self, **parameters: Any) -> Any:
        words = " ".join(str(self.chance.randrange(1000)) for _ in range(self.chance.randint(1, 60)))
        messages: Any = [{"role": "user", "content": words}]
        model = self.chance.choice(self.models)
        return self.client.chat.completions.create(
            **{"model": model, "messages": messages, "max_tokens": 24} | parameters
        )

    def whole(self) -> None:
        assert self.complete().choices

    def stream(self) -> None:
        assert list(self.complete(stream=True, stream_options={"include_usage": True}))[-1].usage

    def hang_up(self) -> None:
        with self.complete(stream=True, max_tokens=400) as stream:
            next(iter(stream))

    def document(self) -> None:
        answer = self.complete(response_format=FORMAT, max_tokens=100).choices[0]
        assert answer.finish_reason == "length" or isinstance(json.loads(answer.message.content)["n"], int)

    def call(self) -> None:
        assert self.complete(tools=[TOOL], tool_choice="required", max_tokens=100).choices

    def several(self) -> None:
        assert len(self.complete(n=3, temperature=1.5).choices) == 3

    def logprobs(self) -> None:
        assert self.complete(logprobs=True, top_logprobs=5).choices[0].logprobs

    def embed(self) -> None:
        assert self.client.embeddings.create(model=self.models[0], input=["one", "two"]).data

    def file(self) -> None:
        file_id = upload_pairs(self.client)
        assert self.client.files.content(file_id).read()
        self.client.files.delete(file_id)

    def bad(self) -> None:
        try:
            self.complete(temperature=9)
        except BadRequestError:
            return
        raise AssertionError("a temperature of 9 was taken")


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        base = options.base or make_tiny_base(Path(scratch) / "tiny")
        settings = {"LUTHIER_BASE": str(base), "LUTHIER_PREFIX_CACHE_BYTES": str(PREFIXES)}
        with serve_process(Path(scratch) / "data", settings) as (client, pid):
            outcome = soak(client, pid, options)
    if options.json:
        options.json.write_text(json.dumps(outcome, indent=1) + "\n")


def soak(client: OpenAI, pid: int, options: argparse.Namespace) -> dict[str, Any]:
    load = Load(client, ["gpt-3.5-turbo", *(_tuned(client) for _ in range(3))])
    requests: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    sizes: list[float] = []
    start = time.monotonic()
    while (now := time.monotonic()) < start + 60 * options.minutes:
        kind = load.kinds[requests.total() % len(load.kinds)]
        requests[kind.__name__] += 1
        try:
            kind()
        except Exception as error:
            failed[f"{kind.__name__}: {error!r}"[:200]] += 1
        if (now - start) // 60 >= len(sizes):
            sizes.append(resident_mb(pid))
            print(f"{len(sizes) - 1:4} min {sizes[-1]:8.1f} MB  {requests.total()} requests", flush=True)
        time.sleep(max(0.0, now + 1 / options.rate - time.monotonic()))
    third = max(len(sizes) // 3, 1)
    growth = statistics.median(sizes[-third:]) - statistics.median(sizes[-2 * third : -third] or sizes)
    print(f"{requests.total()} requests, {failed.total()} failed; {growth:+.1f} MB from the second to the last third")
    for error, count in failed.most_common():
        print(f"{count:5} {error}")
    return {"sizes_mb": sizes, "growth_mb": growth, "requests": requests, "failed": failed}


def _tuned(client: OpenAI) -> str:
    job = client.fine_tuning.jobs.create(model="gpt-3.5-turbo", training_file=upload_pairs(client))
    while job.status not in ("succeeded", "failed"):
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.fine_tuned_model, job.error
    return job.fine_tuned_model


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=4, help="requests per second, at most")
    parser.add_argument("--base", type=Path, help="a model folder; without it a tiny model with random weights")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
