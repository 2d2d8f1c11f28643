"""The output of `luthier generate`: a progress bar with the cost so far, the plan, and the final report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from luthier.cli.i18n import printable
from luthier.cli.output import ProgressLines, print_json, print_table, stderr_console, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.generate.files import OutputFiles
    from luthier.generate.functions.call_spec import CallSpec
    from luthier.generate.run import GenerationResult
    from luthier.generate.topics import TopicSpec

MAX_SLOT_ROWS = 8
_ALIKE = 0.6  # the mean similarity to the nearest text above which a set teaches little
KINDS = {
    "call": ("single calls", "单个调用"),
    "no_call": ("no call", "不需要调用"),
    "missing": ("missing information, asks back", "缺少信息，反问"),
    "several": ("several calls", "多个调用"),
}
REQUESTS = {
    "probe": ("probe", "试探"),
    "sub-topics": ("sub-topics", "子主题"),
    "questions": ("questions", "问题"),
    "answers": ("answers", "回答"),
    "judge": ("judge", "评审"),
    "values": ("values", "参数值"),
    "phrasings": ("phrasings", "说法"),
    "no_call": ("no call", "不调用的消息"),
}
_CRITERIA = {"correct": "正确", "helpful": "有用", "format": "格式"}
_REASONS = {
    "truncated": "被截断",
    "content_filter": "内容过滤",
    "refusal": "拒答",
    "empty": "空",
    "identity": "自称其他模型",
    "cut_off": "中途断开",
    "loop": "循环重复",
    "language": "语言不符",
    "thinking": "思考过程",
    "echo": "复述提示",
    "too_long": "过长",
    "duplicate": "重复",
    "missing": "没有得到",
    "judge": "评分过低",
    "judge_unreadable": "评分无法读取",
    "request_failed": "请求失败",
    "schema": "不符合定义",
    "value_missing": "没有提到参数值",
}


def reasons_text(rejected: dict[str, int]) -> str:
    """The reasons of rejections with their counts, in the user's language."""
    counts = (f"{say(reason, _REASONS.get(reason, reason))} {count}" for reason, count in rejected.items())
    return say(", ", "，").join(counts)


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int, int, float], None]]:
    """Yields a callback (examples, replies, dollars) that updates a progress bar, or prints lines off terminals."""
    console = stderr_console()
    if not console.is_terminal:
        lines = ProgressLines(say("examples", "样本"), total)
        yield lambda examples, replies, dollars: lines.show(
            examples, say(f", {replies} replies, ${dollars:.4f}", f"，{replies} 个回复，${dollars:.4f}")
        )
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(SpinnerColumn(), *columns, console=console, transient=True) as bar:
        task = bar.add_task(say("examples", "样本"), total=total)

        def show(examples: int, replies: int, dollars: float) -> None:
            description = say(f"{replies} replies, ${dollars:.4f}", f"{replies} 个回复，${dollars:.4f}")
            bar.update(task, completed=examples, description=description)

        yield show


def print_result(files: OutputFiles, result: GenerationResult) -> None:
    """Prints the counts, the quality metrics and the cost of a run."""
    report, console = result.report, stdout_console()
    parts = report.get("by_topic") or report["by_kind"]
    rows = [(KINDS.get(name, (name, name)), row) for name, row in parts.items()]
    print_table(("", say("examples", "样本")), [(say(*name), f"{row['made']}/{row['wanted']}") for name, row in rows])
    console.print()
    metrics = _topic_metrics(report) if "by_topic" in report else _call_metrics(report)
    for label, text in [*metrics, *(_costs(report) if "requests" in report else ())]:
        console.print(Text.assemble((f"{label}  ", "bold"), printable(text)), soft_wrap=True)
    if worth := report.get("worth"):
        console.print(worth, soft_wrap=True)
    console.print()
    _print_summary(files, result)


def unmet_kinds(report: dict[str, Any]) -> list[str]:
    """The kinds of calls with fewer examples than planned; empty without a teacher, since templates are limited."""
    if report.get("teacher") is None:
        return []
    return [kind for kind, row in report["by_kind"].items() if row["made"] < row["wanted"]]


def _call_metrics(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    functions = ", ".join(f"{name} {count}" for name, count in report["by_function"].items())
    verified = report["calls_verified"]
    yield (
        say("calls", "调用"),
        say(f"{verified} match their schema: {functions}", f"{verified} 个符合定义：{functions}"),
    )
    if report["choices_covered"]:
        covered = ", ".join(f"{name} {share}" for name, share in report["choices_covered"].items())
        yield say("enum coverage", "取值覆盖"), covered
    rejected = reasons_text(report["rejected"]) or "0"
    diversity = _diversity(report["diversity"]["phrasings"])
    yield (
        say("phrasings", "说法"),
        say(
            f"rejected: {rejected}; {diversity}",
            f"剔除：{rejected}；{diversity}",
        ),
    )


def _topic_metrics(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, label in (("questions", say("questions", "问题")), ("answers", say("answers", "回答"))):
        stage = report[key]
        before, after = _percent(stage["preamble_rate_before"]), _percent(stage["preamble_rate_after"])
        rejected = reasons_text(stage["rejected"]) or "0"
        yield (
            label,
            say(
                f"{stage['seen']} received, preambles {before} before, {after} after; rejected: {rejected}",
                f"收到 {stage['seen']} 条；应答语：处理前 {before}，处理后 {after}；剔除：{rejected}",
            ),
        )
        yield say("  diversity", "  多样性"), _diversity(report["diversity"][key])
    judge = report["judge"]
    if judge:
        scores = judge["mean_scores"].items()
        means = say(", ", "，").join(f"{say(name, _CRITERIA.get(name, name))} {mean}" for name, mean in scores)
        count, unreadable = judge["judged"], judge["unreadable"]
        yield (
            say("judge", "评审"),
            say(
                f"{count} scored, mean {means}; unreadable {unreadable}",
                f"评分 {count} 条，平均 {means}；无法读取 {unreadable} 条",
            ),
        )


def _diversity(metrics: dict[str, float | None]) -> str:
    distinct, similarity, compression = map(_decimal, metrics.values())
    nearest = list(metrics.values())[1]
    is_alike = nearest is not None and nearest > _ALIKE
    warning = say(": too much alike", "（彼此太相似）") if is_alike else ""
    return say(
        f"distinct-2 {distinct}, nearest-neighbour similarity {similarity}{warning}, gzip ratio {compression}",
        f"distinct-2 {distinct}，最近邻相似度 {similarity}{warning}，gzip 压缩比 {compression}",
    )


def _costs(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    requests, tokens, usd = report["requests"], report["tokens_of_this_run"], report["usd"]
    sent, reused, lost = requests["paid_in_this_run"], requests["from_journal"], requests["lost"]
    yield (
        say("requests", "请求"),
        say(
            f"{sent} in this run, {reused} from the journal, {requests['retries']} retries, {lost} without a reply",
            f"本次 {sent} 个，取自运行日志 {reused} 个，重试 {requests['retries']} 次，无回复 {lost} 个",
        ),
    )
    cost = f"${usd['spent_in_all_runs']:.4f}" if usd["known"] else say("price unknown", "价格未知")
    yield (
        say("cost", "费用"),
        say(
            f"{tokens['prompt']} + {tokens['completion']} tokens in this run; {cost} in total",
            f"本次 {tokens['prompt']} + {tokens['completion']} 个 token；历次合计 {cost}",
        ),
    )


def _print_summary(files: OutputFiles, result: GenerationResult) -> None:
    report, console = result.report, stdout_console()
    count, target = report["made"], report["wanted"]
    for kind in unmet_kinds(report):
        row, name = report["by_kind"][kind], KINDS[kind]
        text = say(
            f"Only {row['made']} of {row['wanted']} are '{name[0]}'; rejected examples are in {files.rejects}.",
            f"“{name[1]}”只有 {row['made']}/{row['wanted']} 个；剔除的样本见 {files.rejects}。",
        )
        console.print(Text(text, style="bold red"), soft_wrap=True)
    if result.stopped:
        console.print(Text(printable(str(result.stopped)), style="bold red"), soft_wrap=True)
    if count < target:
        text = say(
            f"{count} of {target} examples were generated; for the reasons see {files.rejects}.",
            f"只完成了 {count}/{target} 个样本；原因见 {files.rejects}。",
        )
        console.print(Text(text, style="bold red"), soft_wrap=True)
    else:
        console.print(say(f"{count} examples: {files.out}", f"{count} 个样本：{files.out}"), soft_wrap=True)
        console.print(say(f"Next: luthier check {files.out}", f"下一步：luthier check {files.out}"), soft_wrap=True)


def print_estimate(as_json: bool, spec: TopicSpec, estimate: dict[str, Any], teacher: str | None) -> None:
    """Prints the planned slots, the teacher, and the expected requests, tokens and cost."""
    from luthier.generate.plan import plan_slots

    plan = spec.plan
    slots = [slot for row in plan_slots(plan, {}).values() for slot in row]
    if as_json:
        rows = [{name: getattr(slot, name) for name in slot.__slots__} for slot in slots]
        print_json({"wanted": plan.total, "teacher": teacher, "slots": rows, **estimate})
        return
    columns = (say("slot", "编号"), say("task", "类型"), say("persona", "提问者"), say("level", "程度"))
    print_table(columns, [(slot.id, slot.task, slot.persona, slot.level) for slot in slots[:MAX_SLOT_ROWS]])
    if len(slots) > MAX_SLOT_ROWS:
        stdout_console().print(
            say(f"… and {len(slots) - MAX_SLOT_ROWS} more", f"……还有 {len(slots) - MAX_SLOT_ROWS} 个")
        )
    if teacher:
        stdout_console().print(printable("\n" + say(f"Teacher: {teacher}", f"教师模型：{teacher}")), soft_wrap=True)
    requests = estimate["requests"]
    named = _request_counts(requests)
    stdout_console().print(
        say(f"\nRequests, without retries: {sum(requests.values())} ({named}).",
            f"\n预计请求数（不含重试）：{sum(requests.values())}（{named}）。"), soft_wrap=True)  # fmt: skip
    dollars = "?" if estimate["usd"] is None else f"${estimate['usd']:.4f}"
    measured = bool(estimate["measured"])
    stdout_console().print(
        say(f"Tokens: {estimate['prompt_tokens']} + {estimate['completion_tokens']}; cost: {dollars}, "
            + ("measured on a few requests." if measured else "if every reply reaches its limit."),
            f"token：{estimate['prompt_tokens']} + {estimate['completion_tokens']}；费用：{dollars}，"
            + ("按几个真实请求估算。" if measured else "按每个回复都用满上限计算。")), soft_wrap=True)  # fmt: skip


def print_call_plan(as_json: bool, spec: CallSpec) -> None:
    """Prints the planned examples by kind, and how many requests a teacher would get."""
    from luthier.generate.functions.call_spec import expected_requests, kind_counts

    counts, requests = kind_counts(spec), expected_requests(spec)
    if as_json:
        print_json({"wanted": spec.count, "by_kind": counts, "requests": requests})
        return
    print_table(("", say("examples", "样本")), [(say(*KINDS[kind]), count) for kind, count in counts.items()])
    named = _request_counts(requests)
    total = sum(requests.values())
    stdout_console().print(
        say(f"Requests with a teacher: {total} ({named}).", f"使用教师模型时的请求数：{total}（{named}）。"),
        soft_wrap=True,
    )


def _request_counts(requests: dict[str, int]) -> str:
    """The requests by kind, as a list in the user's language."""
    return say(", ", "，").join(f"{say(*REQUESTS.get(kind, (kind, kind)))} {count}" for kind, count in requests.items())


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
