"""`luthier check` beside a plain script, on generated chat examples, in one process on one core.

    python benchmarks/check.py                     200,000 examples, half English, half Chinese
    python benchmarks/check.py --file train.jsonl  on a file of your own
    python benchmarks/check.py --gigabyte          time and memory on files of 0.25, 0.5 and 1 GB

The plain script is the loop of OpenAI's cookbook for a chat file: the standard library, seven counts, no line numbers.
Both are timed alternately, several times, in CPU time; what counts is the ratio.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from luthier.data.check.file_check import Quality, check_file
from luthier.data.check.quality.runner import QualityRunner

ENGLISH = (
    "a bond is a loan that you make to a government or company the fund spreads money over many shares so that one bad "
    "year does not decide risk grows with yield and falls with time pay interest each quarter check fees before you buy"
)
CHINESE = (
    "债券 是 借给 政府 或 企业 的 资金 基金 把 钱 分散 到 多只 股票 风险 随 收益 上升 定期 支付 利息 买入 之前 "
    "先 看 费用 保留 一部分 现金 以备 不时 之需 市盈率 等于 股价 除以 每股 收益"
)
EN, ZH = ENGLISH.split(), CHINESE.split()


def plain(path: Path) -> tuple[int, dict[str, int]]:
    """The cookbook's checks: (the number of examples, the number of faults by class)."""
    errors: dict[str, int] = defaultdict(int)
    with path.open(encoding="utf-8") as file:
        dataset = [json.loads(line) for line in file]
    for example in dataset:
        if not isinstance(example, dict):
            errors["data_type"] += 1
            continue
        messages = example.get("messages", None)
        if not messages:
            errors["missing_messages_list"] += 1
            continue
        for message in messages:
            if "role" not in message or "content" not in message:
                errors["message_missing_key"] += 1
            if any(key not in ("role", "content", "name", "function_call", "weight") for key in message):
                errors["message_unrecognized_key"] += 1
            if message.get("role", None) not in ("system", "user", "assistant", "function"):
                errors["unrecognized_role"] += 1
            content = message.get("content", None)
            function_call = message.get("function_call", None)
            if (not content and not function_call) or not isinstance(content, str):
                errors["missing_content"] += 1
        if not any(message.get("role", None) == "assistant" for message in messages):
            errors["example_missing_assistant_message"] += 1
    return len(dataset), dict(errors)


def sentence(generator: random.Random, chinese: bool, words: int) -> str:
    if chinese:
        return "".join(generator.choices(ZH, k=words)) + generator.choice("。！？")
    return " ".join(generator.choices(EN, k=words)).capitalize() + "."


def answer(generator: random.Random, chinese: bool) -> str:
    """Running text, a numbered list over several lines, or a sentence with quotation marks."""
    style = generator.random()
    if style < 0.55:
        return ("" if chinese else " ").join(sentence(generator, chinese, 12) for _ in range(generator.randint(1, 4)))
    if style < 0.9:
        return "\n".join(f"{n}. {sentence(generator, chinese, 9)}" for n in range(1, generator.randint(3, 5)))
    return f'"{generator.choice(ZH if chinese else EN)}": ' + sentence(generator, chinese, 12)


def generate(path: Path, examples: int) -> None:
    generator = random.Random(42)
    with path.open("w", encoding="utf-8") as file:
        for number in range(examples):
            chinese = generator.random() < 0.5
            system = "你是一名严谨的理财助理，回答简短。" if chinese else "You are a careful assistant. Answer briefly."
            messages = [{"role": "system", "content": system}]
            for _ in range(1 + (generator.random() < 0.2)):
                question = f"{number}: " + sentence(generator, chinese, generator.randint(5, 12))
                messages.append({"role": "user", "content": question})
                messages.append({"role": "assistant", "content": answer(generator, chinese)})
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def structure(path: Path) -> None:
    report = check_file(path)
    print("", end="" if report.ok else f"findings: {dict(report.counts)}\n")


def everything(path: Path) -> None:
    check_file(path, quality=quality())


def quality() -> Quality | None:
    """Every quality check, as the command runs them."""
    return QualityRunner()


def cpu_time_s(work: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    work(path)
    return time.process_time() - start


def compare(path: Path, rounds: int) -> None:
    contenders: dict[str, Callable[[Path], object]] = {"plain script": plain, "check, structure only": structure}
    if quality():
        contenders["check, all findings"] = everything
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(cpu_time_s(work, path))
    examples = check_file(path).examples
    for name, own_times in times.items():
        ratios = sorted(
            plain_time / own_time for plain_time, own_time in zip(times["plain script"], own_times, strict=True)
        )
        print(
            f"{name:24} {examples / min(own_times):12,.0f} examples/s   "
            f"{ratios[len(ratios) // 2]:6.1f} times the plain script (median; {ratios[0]:.1f} to {ratios[-1]:.1f})"
        )


def gigabyte(folder: Path) -> None:
    """Time must grow linearly with the file, memory not at all. Peak memory is that of this process since its start."""
    seed = folder / "seed.jsonl"
    generate(seed, 100_000)
    content = seed.read_bytes()
    for size in (2**28, 2**29, 2**30):
        path = folder / "big.jsonl"
        with path.open("wb") as file:
            while file.tell() < size:
                file.write(content)
        for name, work in {"structure": structure, **({"all findings": everything} if quality() else {})}.items():
            elapsed = cpu_time_s(work, path)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            print(f"{size / 2**30:4.2f} GiB  {name:14} {elapsed:6.1f} s   peak memory so far {peak / 2**20:5.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--gigabyte", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.gigabyte:
            gigabyte(Path(folder))
            return
        path = options.file or Path(folder) / "chat.jsonl"
        if not options.file:
            generate(path, options.examples)
        compare(path, options.rounds)


if __name__ == "__main__":
    main()
