"""Training throughput, against TRL's SFTTrainer and against what the CPU's matrix products alone would allow.

    python benchmarks/training.py                       # ordinary chats, then function calls with definitions
    python benchmarks/training.py --case growth         # ten times the examples: time and memory
    python benchmarks/training.py --case chats --no-trl --beside 2   # beside two busy programs too

Both sides have the same base model, adapter weights, examples, order, batches, optimizer and learning rates, and the
same interpreter's torch and transformers. Runs alternate. TRL is installed once, into its own environment in the
cache folder, and computes in the dtype that this CPU multiplies faster. Tokens per second count the tokens of the
examples (a shared prefix in each of them), without the first step. `--exact` also runs TRL in float32, once, for its
losses. `--beside N` also runs Luthier beside N programs that compute in one thread each, in turns with the runs
without them. They have the nice value that the trainer gives itself, 5, and are in its session: both have the same
right to the CPUs. `--tier` holds both sides to a lower CPU tier. With `--cpu` seconds are those that a process had on
the CPUs, for a machine that does other work.
Prints a table, and of each figure whether it meets what is aimed at on this CPU tier; writes `training-CASE.json` and
the loss curves, `training-CASE.svg`.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parent / "tests")]

from machine import busy_programs, describe_machine, hold_to_tier, instruction_sets  # noqa: E402
from target_row import Row  # noqa: E402
from training_ceiling import Ceiling, Step, read_steps  # noqa: E402

from luthier.catalogue import Catalogue  # noqa: E402
from luthier.cli.svg_chart import Series, line_chart  # noqa: E402
from luthier.hardware import cpu_tiers  # noqa: E402
from luthier.settings import Settings  # noqa: E402
from luthier.training.job_spec import JobSpec  # noqa: E402
from luthier.types.plain_settings import DEFAULT_BASE  # noqa: E402

TRL = "trl==1.16.0"
TRAINER_NICE = 5  # as `luthier.training` sets it
# By CPU tier: times TRL, with batches of 16, and the share of the ceiling.
TARGETS = {
    "amx": {"chats": 12, "calls": 40, "ceiling": 0.45},
    "avx512-bf16": {"chats": 4.8, "calls": 20, "ceiling": 0.76},
    "avx2": {"chats": 2.4, "calls": 10, "ceiling": 0.8},
}
BESIDE_TARGETS = {"tokens per CPU second": 0.8, "tokens per second": 0.4}
WORDS = """rate fund price rises falls savers wait risk years bank the of a when its and who may see less""".split()  # noqa: SIM905 - a word list reads best as words


def chats(count: int) -> list[dict[str, Any]]:
    """Ordinary chats of 60 to 500 tokens; the answer is about half of them."""
    generator = random.Random(1)

    def text(words: int) -> str:
        return " ".join(generator.choices(WORDS, k=words))

    examples = []
    for _ in range(count):
        words = generator.randint(20, 220)
        turns = [{"role": "user", "content": text(words)}, {"role": "assistant", "content": text(words)}]
        examples.append({"messages": [{"role": "system", "content": text(8)}, *turns]})
    return examples


def calls(count: int) -> list[dict[str, Any]]:
    """Function calls under about 1,500 tokens of definitions that all examples share."""
    generator = random.Random(2)
    names = [f"{verb}_{noun}" for verb in ("get", "list", "compare") for noun in ("stock", "fund", "rate", "bank")]
    tools = [_definition(name) for name in names]
    examples = []
    for number in range(count):
        name, code = generator.choice(names), f"{generator.randint(100000, 999999)}"
        question = f"Please {name.replace('_', ' the ')} number {code} over {number % 30 + 1} days."
        function = {"name": name, "arguments": json.dumps({"code": code, "days": number % 30 + 1})}
        call = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        examples.append({"messages": [{"role": "user", "content": question}, call], "tools": tools})
    return examples


def _definition(name: str) -> dict[str, Any]:
    code = {"type": "string", "description": f"The six digits of what to {name.replace('_', ' the ')} for."}
    days = {"type": "integer", "description": "Days to look back from today, weekends and holidays not counted."}
    parameters = {"type": "object", "properties": {"code": code, "days": days}, "required": ["code"]}
    description = f"Look up and {name.replace('_', ' the ')} as the exchange published it, newest first."
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def write_job(folder: Path, base: Path, examples: list[dict[str, Any]], batch_size: int, threads: int) -> Path:
    folder.mkdir(parents=True)
    lines = (json.dumps(example) + "\n" for example in examples)
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    numbers = {"n_epochs": 1, "batch_size": batch_size, "learning_rate_multiplier": 0.5}
    JobSpec(str(base), base.name, seed=1, hyperparameters=numbers, threads=threads, definitions="full").write(folder)
    return folder


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Runs a trainer: its events, the losses, times and CPU seconds of its steps, and its peak memory.

    `own_mb` excludes mapped files, whose pages the system can reclaim (Linux only).
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | environment)
    assert process.stdout is not None
    events, losses, times, cpu_times, own = [], [], [], [], [0]
    for line in process.stdout:
        event = json.loads(line) if line.startswith(b"{") else {}
        events += [event] if event else []
        if event.get("type") == "metrics":
            times.append(time.perf_counter())
            cpu_times.append(_cpu_s(process.pid))
            losses.append(event["metrics"]["train_loss"])
            own.append(_own_mb(process.pid))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return {
        "events": events,
        "losses": losses,
        "times": times,
        "cpu_times": cpu_times,
        "peak_mb": usage.ru_maxrss // (1 if sys.platform != "darwin" else 1024) // 1024,
        "own_mb": max(own),
    }


def _own_mb(pid: int) -> int:
    """Anonymous resident memory of a process in MB; 0 on other systems than Linux."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon"))


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far; 0 on other systems than Linux."""
    status = Path(f"/proc/{pid}/stat")
    fields = status.read_text().rsplit(")", 1)[1].split() if status.exists() else ["0"] * 13
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours(folder: Path) -> dict[str, Any]:
    return run([sys.executable, "-m", "luthier.training", str(folder)], {"PYTHONPATH": str(HERE.parent / "src")})


def trl(folder: Path, python: Path, **variables: str) -> dict[str, Any]:
    environment = {"PYTHONPATH": str(HERE.parent / "src"), **variables}
    return run([str(python), str(HERE / "training_trl.py"), str(folder)], environment)


def trl_python(cache: Path) -> Path:
    """The interpreter of an environment with TRL, which also sees this one's packages. Created once."""
    folder = cache / "benchmarks" / TRL.replace("==", "-")
    if not (folder / "ready").exists():
        print(f"Installing {TRL} into {folder} (once)", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "parent.pth").write_text(str(Path(torch.__file__).parent.parent) + "\n")
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", TRL], check=True)
        (folder / "ready").touch()
    return folder / "bin" / "python"


def throughput(outcome: dict[str, Any], steps: list[Step], clock: str = "times") -> float:
    """Tokens per second of a run, without its first step; `clock`: `times`, or `cpu_times` for CPU seconds."""
    duration_s = outcome[clock][-1] - outcome[clock][0]
    return sum(step.tokens for step in steps[1:]) / max(duration_s, 0.01)


def compare(case: str, options: argparse.Namespace, base: Path, cache: Path) -> None:
    examples = {"chats": chats, "calls": calls}[case](options.steps * options.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        master = write_job(Path(scratch) / "job", base, examples, options.batch_size, options.threads)
        spec = JobSpec.read(master)
        steps, ceiling = read_steps(master, spec, options.batch_size), Ceiling(spec, options.threads, cpu=options.cpu)
        print(ceiling.describe())
        trl_dtype = {"TRL_FLOAT32": "1"} if ceiling.faster == torch.float32 else {}
        outcomes: dict[str, list[dict[str, Any]]] = {"luthier": [], "trl": []}
        if options.beside:
            outcomes["beside"] = []
        for repetition in range(options.rounds):
            for name, runs in outcomes.items():
                if name == "trl" and options.no_trl:
                    continue
                folder = Path(scratch) / f"{name}-{repetition}"
                shutil.copytree(master, folder)
                with busy_programs(options.beside if name == "beside" else 0, TRAINER_NICE):
                    runs.append(trl(folder, trl_python(cache), **trl_dtype) if name == "trl" else ours(folder))
                print(f"{case}: {name} {throughput(runs[-1], steps, options.clock):.0f} tokens/s", file=sys.stderr)
        if options.exact:
            folder = Path(scratch) / "exact"
            shutil.copytree(master, folder)
            outcomes["trl, float32"] = [trl(folder, trl_python(cache), TRL_FLOAT32="1", TRL_AT_ONCE="4")]
    limit = sum(step.tokens for step in steps[1:]) / sum(map(ceiling.seconds, steps[1:]))
    report(case, outcomes, steps, limit, options)


def report(
    case: str, outcomes: dict[str, list[dict[str, Any]]], steps: list[Step], limit: float, options: argparse.Namespace
) -> None:
    """Prints and writes the comparison; `limit` in tokens per second."""
    summary: dict[str, Any] = {"case": case, "steps": [step._asdict() for step in steps], "ceiling_tokens_per_s": limit}
    unit = "tokens/CPU s" if options.cpu else "tokens/s"
    for name, runs in outcomes.items():
        if runs:
            rates = [throughput(outcome, steps, options.clock) for outcome in runs]
            summary[name] = {
                "tokens_per_s": statistics.median(rates),
                "all_tokens_per_s": rates,
                "peak_mb": max(outcome["peak_mb"] for outcome in runs),
                "losses": runs[0]["losses"],
            }
            share = statistics.median(rates) / limit
            speed = f"{statistics.median(rates):8.0f} {unit}  {share:4.0%} of the ceiling of {limit:.0f}"
            print(f"{case:6} {name:13}{speed}  peak {summary[name]['peak_mb']} MB")
    rows = target_rows(case, summary, options) + (beside_rows(case, outcomes, steps) if options.beside else [])
    print(*rows, sep="\n")
    summary["rows"] = [{**asdict(row), "met": row.met} for row in rows]
    for left, right in combinations([name for name in outcomes if name in summary], 2):
        gap = max(abs(a - b) for a, b in zip(summary[left]["losses"], summary[right]["losses"], strict=True))
        summary[f"largest_loss_gap of {left} and {right}"] = gap
        print(f"{case:6} losses of {left} and {right} apart by at most {gap:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"training-{case}.json").write_text(json.dumps(summary, indent=1) + "\n")
    curves = [Series(name, list(enumerate(summary[name]["losses"], start=1))) for name in outcomes if name in summary]
    (options.out / f"training-{case}.svg").write_text(line_chart(f"Training losses, {case}", "step", "loss", curves))


def target_rows(case: str, summary: dict[str, Any], options: argparse.Namespace) -> list[Row]:
    """Of the tiers that something is aimed at."""
    tier, ours = cpu_tiers()[0], summary["luthier"]
    targets = TARGETS.get(tier.name)
    if targets is None:
        print(f"{case:6} nothing is aimed at on the tier {tier.title}")
        return []
    limit = summary["ceiling_tokens_per_s"]
    rows = []
    if case == "chats":
        note = f"{ours['tokens_per_s']:.0f} of {limit:.0f} tokens/s"
        rows.append(
            Row(f"{case}, share of the products' ceiling", targets["ceiling"], ours["tokens_per_s"] / limit, note)
        )
    if "trl" in summary:
        theirs = summary["trl"]
        note = f"batches of {options.batch_size}, {ours['peak_mb'] / theirs['peak_mb']:.2f} of the memory"
        rows.append(Row(f"{case}, against TRL", targets[case], ours["tokens_per_s"] / theirs["tokens_per_s"], note))
    return rows


def beside_rows(case: str, outcomes: dict[str, list[dict[str, Any]]], steps: list[Step]) -> list[Row]:
    rows = []
    for (title, target), clock in zip(BESIDE_TARGETS.items(), ("cpu_times", "times"), strict=True):
        rate_beside, rate_alone = (
            statistics.median(throughput(run, steps, clock) for run in outcomes[name]) for name in ("beside", "luthier")
        )
        note = f"{rate_beside:.0f} of {rate_alone:.0f}, both at nice {TRAINER_NICE}"
        rows.append(Row(f"{case} beside busy programs, share of {title}", target, rate_beside / rate_alone, note))
    return rows


def growth(options: argparse.Namespace) -> None:
    """Ten times the examples, on a tiny model, so that matrix products do not hide what grows."""
    from tiny import make_tiny_base

    measured = {}
    with tempfile.TemporaryDirectory() as scratch:
        base = make_tiny_base(Path(scratch) / "tiny")
        for count in (options.growth, 10 * options.growth):
            examples = [{"messages": example["messages"]} for example in _short(count)]
            folder = write_job(Path(scratch) / str(count), base, examples, 32, options.threads or 1)
            start = time.perf_counter()
            outcome = ours(folder)
            measured[count] = (time.perf_counter() - start, outcome["peak_mb"])
            own = f", {outcome['own_mb']} MB without pages of files" if outcome["own_mb"] else ""
            print(f"growth {count:8} examples {measured[count][0]:7.1f} s  peak {outcome['peak_mb']} MB{own}")
    (small_s, small_mb), (large_s, large_mb) = measured.values()
    ratios = f"{large_s / small_s:.1f} times the time, {large_mb / small_mb:.2f} of the memory"
    print(f"growth 10 times the examples: {ratios}")


def _short(count: int) -> list[dict[str, Any]]:
    turns = [[{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": f"{n % 97}"}] for n in range(count)]
    return [{"messages": pair} for pair in turns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["chats", "calls", "growth", "all"], default="all")
    parser.add_argument("--steps", type=int, default=6, help="optimizer steps of a run")
    parser.add_argument("--batch-size", type=int, default=16, help="examples of a step")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch chooses")
    parser.add_argument("--growth", type=int, default=5000, help="examples of the smaller growth run")
    parser.add_argument("--exact", action="store_true", help="losses of TRL in float32 too")
    parser.add_argument("--no-trl", action="store_true", help="Luthier alone")
    parser.add_argument("--beside", type=int, default=0, help="busy programs, in further runs of Luthier")
    parser.add_argument("--cpu", action="store_true", help="measure CPU seconds of both sides' processes")
    parser.add_argument("--tier", choices=[tier.name for tier in cpu_tiers()], help="hold both to a lower CPU tier")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.clock = "cpu_times" if options.cpu else "times"
    hold_to_tier(options.tier)
    cache = Settings().cache
    if options.case == "growth":
        growth(options)
        return
    base = Catalogue(cache).folder(DEFAULT_BASE)
    print(describe_machine(options.threads))
    for library, instruction_set in instruction_sets().items():
        print(f"{library}: {instruction_set or 'does not say'}")
    for case in ("chats", "calls") if options.case == "all" else (options.case,):
        compare(case, options, base, cache)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
