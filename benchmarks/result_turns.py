"""Do exact calls get worse when training adds answers after results, and do agent loops end? On the real base.

    python benchmarks/result_turns.py [FILE ...] [--seeds 1 2] [--shares 0 0.15] [--json OUTPUT]

Without files: quickstart's English and Chinese examples. For each file and seed a fifth of the examples is held out as
`luthier split` does; for each share (the setting `result_turns`) a job with quickstart's settings is trained by a
server of its own. The model then answers the held-out questions greedily, without definitions in the requests. A call
counts if name and arguments equal the expected ones. After each exact call the request goes on with a result, seven
kinds in turn, and the loop ends if the model answers in words; a failure is reported if the words say so. Prints a row
per job, with Wilson's 95 % intervals.
"""

import argparse
import json
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from local_server import fine_tune, serve
from openai import OpenAI

from luthier.data.split.splitter import Output, split_file
from luthier.evaluation.statistics import proportion

RESULTS = (
    "done", '{"status": "ok"}', "The device has confirmed the change.", "42", "完成",
    '{"error": "no connection"}', "error: timeout",
)  # fmt: skip
EPOCHS = {"smart_home.jsonl": 2, "smart_home.zh.jsonl": 3}  # as quickstart sets them; `auto` for other files
FAILURES = ("work", "fail", "error", "not", "没有", "失败", "未")


def main() -> None:
    options = _arguments()
    rows = []
    for file in options.files or _bundled():
        for seed in options.seeds:
            for share in options.shares:
                with tempfile.TemporaryDirectory() as folder:
                    row = {"file": file.name, "seed": seed, "share": share} | _measure(Path(folder), file, seed, share)
                rows.append(row)
                print(_line(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _measure(folder: Path, file: Path, seed: int, share: float) -> dict[str, Any]:
    train, valid = folder / "train.jsonl", folder / "valid.jsonl"
    split_file(file, train, [Output("validation", valid, 0.2)], seed=seed, overwrite=True)
    examples = [json.loads(line) for line in valid.read_text(encoding="utf-8").splitlines()]
    with serve(folder / "data", {"LUTHIER_RESULT_TURNS": str(share)}) as client:
        start = time.perf_counter()
        model = fine_tune(client, train, seed, EPOCHS.get(file.name, "auto"))
        seconds = time.perf_counter() - start
        exact_calls, calls, words, ended, failures, reported = 0, 0, 0, 0, 0, 0
        for example in examples:
            *question, expected = example["messages"]
            answer = _answer(client, model, question)
            if not expected.get("tool_calls"):
                words += not answer.get("tool_calls")
                continue
            calls += 1
            if _calls(answer) != _calls(expected):
                continue
            result = RESULTS[exact_calls % len(RESULTS)]
            exact_calls += 1
            replies = [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in answer["tool_calls"]]
            last = _answer(client, model, [*question, answer, *replies])
            ended += not last.get("tool_calls")
            if "error" in result:
                failures += 1
                reported += any(word in (last.get("content") or "") for word in FAILURES)
    return {
        "exact_calls": exact_calls, "calls": calls, "words": words, "texts": len(examples) - calls, "ended": ended,
        "failures": failures, "reported": reported, "seconds": seconds,
    }  # fmt: skip


def _answer(client: OpenAI, model: str, messages: list[Any]) -> dict[str, Any]:
    completion = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=96)
    return completion.choices[0].message.model_dump(exclude_none=True)


def _calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and arguments; arguments that are no JSON stay text."""
    return [
        (call["function"]["name"], _parsed(call["function"]["arguments"])) for call in message.get("tool_calls") or []
    ]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _line(row: dict[str, Any]) -> str:
    exact = proportion(row["exact_calls"], row["calls"])
    return (
        f"{row['file']:24} seed {row['seed']}  share {row['share']:<5} exact {row['exact_calls']}/{row['calls']} "
        f"[{exact.low:.2f}-{exact.high:.2f}]  texts {row['words']}/{row['texts']}  "
        f"loops that end {row['ended']}/{row['exact_calls']}  failures reported {row['reported']}/{row['failures']}  "
        f"{row['seconds']:.0f} s"
    )


def _bundled() -> list[Path]:
    folder = Path(str(resources.files("luthier") / "examples"))
    return [folder / "smart_home.jsonl", folder / "smart_home.zh.jsonl"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.15])
    parser.add_argument("--json", type=Path, metavar="OUTPUT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
