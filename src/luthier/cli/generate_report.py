"""What a run of `luthier generate` shows: a bar with the cost so far, and at the end the report in words.

Knows the report as a document and nothing about how it came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from luthier.cli.i18n import printable
from luthier.cli.output import print_json, print_table, stderr_console, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.generate.files import OutputFiles
    from luthier.generate.functions.call_spec import CallSpec
    from luthier.generate.run import GenerationResult
    from luthier.generate.topics import TopicSpec

SHOWN_SLOTS = 8
KINDS = {
    "call": ("single calls", "单个调用"),
    "no_call": ("no call", "不需要调用"),
    "missing": ("something missing, asks back", "缺少信息，反问"),
    "several": ("several calls", "多个调用"),
}


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int, int, float], None]]:
    """A function that is told of examples made, replies and dollars; it draws where stderr is a terminal."""
    console = stderr_console()
    if not console.is_terminal:
        yield lambda made, replies, dollars: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(say("examples", "样本"), total=total)

        def show(made: int, replies: int, dollars: float) -> None:
            counted = say(f"{replies} replies, ${dollars:.4f}", f"{replies} 个回复，${dollars:.4f}")
            bar.update(task, completed=made, description=counted)

        yield show


def print_made(places: OutputFiles, outcome: GenerationResult) -> None:
    """The figures that a person should look at before training on the file."""
    report, console = outcome.report, stdout_console()
    parts = report.get("by_topic") or report["by_kind"]
    rows = [(KINDS.get(name, (name, name)), row) for name, row in parts.items()]
    print_table(("", say("made", "已完成")), [(say(*name), f"{row['made']}/{row['wanted']}") for name, row in rows])
    console.print()
    figures = _quality(report) if "by_topic" in report else _calls(report)
    for label, text in [*figures, *(_money(report) if "requests" in report else ())]:
        console.print(Text.assemble((f"{label}  ", "bold"), printable(text)), soft_wrap=True)
    if worth := report.get("worth"):
        console.print(worth, soft_wrap=True)
    console.print()
    _print_end(places, outcome)


def short_kinds(report: dict[str, Any]) -> list[str]:
    """The kinds of calls that missed their share. Without a teacher that is no fault: templates have so many words."""
    if report.get("teacher") is None:
        return []
    return [kind for kind, row in report["by_kind"].items() if row["made"] < row["wanted"]]


def _calls(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    functions = ", ".join(f"{name} {count}" for name, count in report["by_function"].items())
    verified = report["calls_verified"]
    yield say("calls", "调用"), say(f"{verified} fit their schema: {functions}", f"{verified} 个符合定义：{functions}")
    if report["choices_covered"]:
        covered = ", ".join(f"{name} {share}" for name, share in report["choices_covered"].items())
        yield say("choices covered", "取值覆盖"), covered
    rejected = ", ".join(f"{reason} {count}" for reason, count in report["rejected"].items()) or "0"
    distinct, nearest, squeezed = map(_figure, report["diversity"]["phrasings"].values())
    yield (
        say("phrasings", "说法"),
        say(
            f"rejected: {rejected}; distinct-2 {distinct}, nearest likeness {nearest}, gzip {squeezed}",
            f"剔除：{rejected}；distinct-2 {distinct}，与最相近者的相似度 {nearest}，gzip 压缩比 {squeezed}",
        ),
    )


def _quality(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, label in (("questions", say("questions", "问题")), ("answers", say("answers", "回答"))):
        stage = report[key]
        before, after = _percent(stage["preamble_rate_before"]), _percent(stage["preamble_rate_after"])
        rejected = ", ".join(f"{reason} {count}" for reason, count in stage["rejected"].items()) or "0"
        yield (
            label,
            say(
                f"{stage['seen']} came, preambles {before} before, {after} after; rejected: {rejected}",
                f"收到 {stage['seen']} 条；开头客套：处理前 {before}，处理后 {after}；剔除：{rejected}",
            ),
        )
        distinct, nearest, squeezed = map(_figure, report["diversity"][key].values())
        yield (
            say("  variety", "  多样性"),
            say(
                f"distinct-2 {distinct}, nearest likeness {nearest}, gzip {squeezed}",
                f"distinct-2 {distinct}，与最相近者的相似度 {nearest}，gzip 压缩比 {squeezed}",
            ),
        )
    judged = report["judge"]
    if judged:
        means = ", ".join(f"{name} {mean}" for name, mean in judged["mean_scores"].items())
        unread = judged["unreadable"]
        yield (
            say("judge", "评审"),
            say(
                f"{judged['judged']} judged, mean {means}; unreadable {unread}",
                f"评审 {judged['judged']} 条，平均 {means}；无法读取 {unread} 条",
            ),
        )


def _money(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    requests, tokens, usd = report["requests"], report["tokens_of_this_run"], report["usd"]
    paid, kept, lost = requests["paid_in_this_run"], requests["from_journal"], requests["lost"]
    yield (
        say("requests", "请求"),
        say(
            f"{paid} in this run, {kept} out of the journal, {requests['retries']} retries, {lost} without an answer",
            f"本次 {paid} 个，取自运行日志 {kept} 个，重试 {requests['retries']} 次，无回音 {lost} 个",
        ),
    )
    cost = f"${usd['spent_in_all_runs']:.4f}" if usd["known"] else say("price not known", "价格未知")
    yield (
        say("cost", "费用"),
        say(
            f"{tokens['prompt']} + {tokens['completion']} tokens in this run; {cost} in all runs",
            f"本次 {tokens['prompt']} + {tokens['completion']} 个 token；历次合计 {cost}",
        ),
    )


def _print_end(places: OutputFiles, outcome: GenerationResult) -> None:
    report, console = outcome.report, stdout_console()
    made, wanted = report["made"], report["wanted"]
    for kind in short_kinds(report):
        row, name = report["by_kind"][kind], KINDS[kind]
        text = say(
            f"Only {row['made']} of {row['wanted']} are '{name[0]}'; what was rejected is in {places.rejects}.",
            f"“{name[1]}”只有 {row['made']}/{row['wanted']} 个；剔除的样本见 {places.rejects}。",
        )
        console.print(Text(text, style="bold red"), soft_wrap=True)
    if outcome.stopped:
        console.print(Text(printable(str(outcome.stopped)), style="bold red"), soft_wrap=True)
    if made < wanted:
        text = say(
            f"{made} of {wanted} examples were made; {places.rejects} says why the others were not.",
            f"只完成了 {made}/{wanted} 个样本；原因见 {places.rejects}。",
        )
        console.print(Text(text, style="bold red"), soft_wrap=True)
    else:
        console.print(say(f"{made} examples: {places.out}", f"{made} 个样本：{places.out}"), soft_wrap=True)
        console.print(say(f"Next: luthier check {places.out}", f"下一步：luthier check {places.out}"), soft_wrap=True)


def print_estimate(as_json: bool, wish: TopicSpec, estimate: dict[str, Any]) -> None:
    """The plan and what it comes to."""
    from luthier.generate.plan import plan_slots

    plan = wish.plan
    first = [slot for row in plan_slots(plan, {}).values() for slot in row]
    if as_json:
        shown = [{name: getattr(slot, name) for name in slot.__slots__} for slot in first]
        print_json({"wanted": plan.total, "slots": shown, **estimate})
        return
    columns = (say("slot", "位置"), say("kind", "类型"), say("asker", "提问者"), say("level", "程度"))
    print_table(columns, [(slot.id, slot.task, slot.persona, slot.level) for slot in first[:SHOWN_SLOTS]])
    if len(first) > SHOWN_SLOTS:
        stdout_console().print(say(f"… and {len(first) - SHOWN_SLOTS} more", f"……还有 {len(first) - SHOWN_SLOTS} 个"))
    requests = estimate["requests"]
    named = ", ".join(f"{kind} {count}" for kind, count in requests.items())
    stdout_console().print(
        say(f"\nRequests, if nothing is asked twice: {sum(requests.values())} ({named}).",
            f"\n预计请求数（没有重问时）：{sum(requests.values())}（{named}）。"), soft_wrap=True)  # fmt: skip
    dollars = "?" if estimate["usd"] is None else f"${estimate['usd']:.4f}"
    measured = bool(estimate["measured"])
    stdout_console().print(
        say(f"Tokens: {estimate['prompt_tokens']} + {estimate['completion_tokens']}; cost: {dollars}, "
            + ("measured on a few requests." if measured else "every reply at its limit."),
            f"token：{estimate['prompt_tokens']} + {estimate['completion_tokens']}；费用：{dollars}，"
            + ("按几个真实请求估算。" if measured else "按每个回复都用满上限计算。")), soft_wrap=True)  # fmt: skip


def print_shares(as_json: bool, wish: CallSpec) -> None:
    """What a run over function definitions would make, and the requests that a teacher would get."""
    from luthier.generate.functions.call_spec import expected_requests, kind_counts

    wanted, requests = kind_counts(wish), expected_requests(wish)
    if as_json:
        print_json({"wanted": wish.count, "by_kind": wanted, "requests": requests})
        return
    print_table(("", say("examples", "样本")), [(say(*KINDS[kind]), count) for kind, count in wanted.items()])
    named = ", ".join(f"{kind} {count}" for kind, count in requests.items())
    total = sum(requests.values())
    stdout_console().print(
        say(f"Requests with a teacher: {total} ({named}).", f"使用教师模型时的请求数：{total}（{named}）。"),
        soft_wrap=True,
    )


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
