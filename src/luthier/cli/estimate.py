"""`luthier estimate`: what training on a file takes: tokens, money at OpenAI, and time, memory and disk here.

Tokens are the base model's own; time is from a measured rate. Refuses nothing. Needs no server.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from luthier.cli.check_numbers import base_folder, left_out_of, missing, openai_counter, uncounted
from luthier.cli.check_report import reading_bar
from luthier.cli.errors import Trouble
from luthier.cli.i18n import printable
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import note, print_json, print_table, results, size
from luthier.cli.throughput import rate
from luthier.language import say

_SAMPLE_BYTES = 8_000_000


@click.command(
    help=say(
        "What training on a file takes: tokens × epochs, what OpenAI charged for as much, and minutes, memory and disk "
        "on this machine, from a short measurement that is made once.\n\n"
        "Example: luthier estimate train.jsonl --epochs 3",
        "训练一个文件的代价：token × 轮数、OpenAI 的收费，以及在本机上的时间、内存和磁盘（根据一次简短的实测）。\n\n"
        "例子：luthier estimate train.jsonl --epochs 3",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    metavar="NAME",
    help=say("One of OpenAI's models; else all of the price table.", "OpenAI 的某个模型；默认列出全部价格。"),
)
@click.option(
    "--epochs", type=click.IntRange(1, 50), help=say("Else as a job would choose.", "默认与任务自动选择的相同。")
)
@click.option(
    "--base",
    metavar="NAME",
    help=say("The base model to train; else that of the settings.", "要训练的基座模型；默认取设置。"),
)
@click.option(
    "--full",
    is_flag=True,
    help=say("Of training all weights, as `tune --full` does.", "训练全部权重（同 tune --full）。"),
)
@click.option("--measure", type=click.Choice(["once", "again", "never"]), default="once", show_default=True,
              help=say("Measure this machine if that was not done yet, anew, or not at all.",
                       "测量本机速度：未测过才测、重新测、不测。"))  # fmt: skip
@local_options
@pass_options
def estimate(
    options: Options, file: Path, model: str | None, epochs: int | None, base: str | None, full: bool, measure: str
) -> None:
    from luthier.settings import Settings

    name, folder = base_folder(base)
    if folder is None:
        raise Trouble(missing(name))
    prices = _prices(model)
    made = _counted(file, folder, epochs)
    measured = rate(Settings(), folder, full=full, anew=measure == "again") if measure != "never" else None
    made["base"] = name
    made["openai"] = _at_openai(made, prices)
    made["here"] = _here(made, measured, Settings().keep_checkpoints, file.stat().st_size) if measured else None
    if options.json:
        print_json(made)
    else:
        _tell(results(), made, file)
    _warn(made, file)


def _prices(model: str | None) -> dict[str, float]:
    """The price of one model, or of all."""
    from luthier.data.cost_estimate import openai_price, openai_prices

    if model is None:
        return openai_prices()
    price = openai_price(model)
    if price is None:
        known = ", ".join(openai_prices())
        raise Trouble(say(f"OpenAI published no training price by token for {model}. Known: {known}",
                          f"OpenAI 没有公布 {model} 按 token 的训练价格。已知：{known}"))  # fmt: skip
    return {model: price}


def _counted(file: Path, folder: Path, epochs: int | None) -> dict[str, Any]:
    from luthier.data.check.file_check import check_file
    from luthier.data.cost_estimate import n_epochs_auto
    from luthier.data.rendering.renderer import Renderer
    from luthier.data.token_stats import context_tokens, measure

    faulty = check_file(file).faulty
    with reading_bar(file, say(f"counting {file.name}", f"统计 {file.name}")) as on_line:
        numbers = measure(
            file,
            Renderer(folder),
            context_tokens(folder),
            sample_bytes=_SAMPLE_BYTES,
            count_openai=openai_counter(),
            on_line=on_line,
        )
    if not numbers.counted:
        see = shlex.join(["luthier", "check", str(file)])
        why = uncounted(numbers.examples, faulty) if numbers.examples else say("It is empty.", "文件是空的。")
        raise Trouble(say(f"{file} cannot be estimated. {why} See: {see}",
                          f"{file} 无法估算。{why}请看：{see}"))  # fmt: skip
    chosen = epochs or n_epochs_auto(numbers.examples - faulty)
    return {
        "examples": numbers.examples,
        "sampled": numbers.sampled,
        "counted": numbers.counted,
        "faulty": faulty,
        "tokens": numbers.total_tokens,
        "openai_tokens": numbers.total_openai_tokens,
        "epochs": chosen,
        "epochs_chosen": "given" if epochs else "auto",
        "trained_tokens": numbers.total_tokens * chosen,
        "truncated": numbers.truncated,
    }


def _at_openai(made: dict[str, Any], prices: dict[str, float]) -> dict[str, Any]:
    """Money by OpenAI's own count of tokens where it is known, else by the base model's."""
    from luthier.data.cost_estimate import HOSTED_UNTIL, LESSON_USD_PER_1K, training_cost

    tokens = made["openai_tokens"] or made["tokens"]
    return {
        "until": HOSTED_UNTIL,
        "tokens": tokens,
        "usd": {name: training_cost(tokens, made["epochs"], price / 1000) for name, price in prices.items()},
        "usd_per_1m": prices,
        "lesson_usd": training_cost(tokens, made["epochs"], LESSON_USD_PER_1K),
    }


def _here(made: dict[str, Any], measured: dict[str, Any], kept: int, file_bytes: int) -> dict[str, Any]:
    adapters = (kept + 1) * measured["adapter_bytes"]  # the checkpoints of a job, and the model made of the last
    return {
        **measured,
        "seconds": made["trained_tokens"] / measured["tokens_per_s"],
        "disk_bytes": adapters + measured["state_bytes"] + 2 * file_bytes,  # the upload, and the job's copy
    }


def _tell(console: Console, made: dict[str, Any], file: Path) -> None:
    about = say("about ", "约 ") if made["sampled"] < made["examples"] else ""
    base = Path(made["base"]).name
    how = say(" (auto)", "（auto）") if made["epochs_chosen"] == "auto" else ""
    console.print(printable(say(
        f"{file}: {made['examples']:,} examples, {about}{made['tokens']:,} tokens of {base} × {made['epochs']} "
        f"epochs{how} = {made['trained_tokens']:,} tokens to train.\n",
        f"{file}：{made['examples']:,} 个样本，{about}{made['tokens']:,} 个 token（{base}）× {made['epochs']} 轮{how}"
        f" = 训练 {made['trained_tokens']:,} 个 token。\n",
    )), soft_wrap=True)  # fmt: skip
    _tell_openai(console, made["openai"], made)
    if made["here"]:
        _tell_here(console, made["here"])


def _tell_openai(console: Console, openai: dict[str, Any], made: dict[str, Any]) -> None:
    whose = say("its own count", "按其词表") if made["openai_tokens"] else say("counted as above", "按上面的统计")
    console.print(say(
        f"At OpenAI, {openai['tokens']:,} tokens ({whose}) × {made['epochs']} epochs cost, by its last price table "
        f"(it takes no new fine-tuning jobs after {openai['until']}):",
        f"在 OpenAI，{openai['tokens']:,} 个 token（{whose}）× {made['epochs']} 轮，按最后公布的价格"
        f"（{openai['until']} 之后不再接受新的微调任务）：",
    ), soft_wrap=True)  # fmt: skip
    rows = [(name, f"${openai['usd_per_1m'][name]:.2f}", f"${cost:,.2f}") for name, cost in openai["usd"].items()]
    print_table([say("model", "模型"), say("per 1M tokens", "每百万 token"), say("training", "训练费用")], rows)
    console.print(say(
        f"By the sum of many courses, $0.016 per 1k tokens × tokens × epochs: ${openai['lesson_usd']:,.2f}. (10,000 "
        "tokens × 10 epochs = $1.60. That rate was the price of using a tuned gpt-3.5-turbo; training cost half.)\n",
        f"按许多课程的算法，每千 token $0.016 × token × 轮数：${openai['lesson_usd']:,.2f}。（10,000 token × 10 轮 = "
        "$1.60。这其实是微调后 gpt-3.5-turbo 的使用价格，训练价格是它的一半。）\n",
    ), soft_wrap=True)  # fmt: skip


def _tell_here(console: Console, here: dict[str, Any]) -> None:
    time, memory, disk = _duration(here["seconds"]), size(here["peak_memory_bytes"]), size(here["disk_bytes"])
    console.print(say(
        f"Here ({here['hardware']}, measured: {here['tokens_per_s']:,} tokens/s): about {time}, {memory} of memory, "
        f"{disk} on disk; no money but for the electricity.",
        f"在本机（{here['hardware']}，实测 {here['tokens_per_s']:,} token/秒）：约 {time}，内存 {memory}，磁盘 {disk}；"
        "除电费外不花钱。",
    ), soft_wrap=True)  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 90:
        return say(f"{seconds:.0f} seconds", f"{seconds:.0f} 秒")
    if seconds < 5400:
        return say(f"{seconds / 60:.0f} minutes", f"{seconds / 60:.0f} 分钟")
    return say(f"{seconds / 3600:,.1f} hours", f"{seconds / 3600:,.1f} 小时")


def _warn(made: dict[str, Any], file: Path) -> None:
    from luthier.data.cost_estimate import MANY_S

    if left_out := left_out_of(made):
        see = shlex.join(["luthier", "check", str(file)])
        note(say(f"{left_out} A job refuses a file with errors; see: {see}",
                 f"{left_out}有错误的文件无法用于训练；请看：{see}")
             if made["faulty"] else left_out, "bold yellow")  # fmt: skip
    if made["here"] and made["here"]["seconds"] > MANY_S:
        said = say(
            "That is more than a thousand hours. Fewer epochs, a sample of the file, a smaller base or a GPU would "
            "help; nothing keeps you from starting.",
            "这超过一千小时。可以减少轮数、抽取部分样本、换更小的基座模型或使用 GPU；要开始也不会被阻止。",
        )
        note(said, "bold yellow")
    if made["truncated"]:
        note(say(f"{made['truncated']:,} examples are longer than the base model's context; see: luthier check",
                 f"{made['truncated']:,} 个样本超过基座模型的上下文；请看：luthier check"), "yellow")  # fmt: skip
