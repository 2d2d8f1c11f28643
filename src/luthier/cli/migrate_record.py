"""`luthier migrate record`: saves an account in a folder, with the answers of its fine-tuned models."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.errors import CliError
from luthier.cli.migrate_account import AccountOptions, account_errors, account_progress, project_options
from luthier.cli.migrate_report import cost_text, print_plans, print_recording
from luthier.cli.options import NamePair, Options, account_options, option, pass_options
from luthier.cli.output import note, print_json
from luthier.language import say

if TYPE_CHECKING:
    from luthier.generate.journal import Journal
    from luthier.migrate.folder import RecordingFolder
    from luthier.migrate.recorder import ModelPlan, RecordOptions
    from luthier.migrate.recording import Recording

DEFAULT_FOLDER = Path("recording")


@click.command(
    short_help=say("Save an account in one folder, with its models' answers.", "把账号连同模型的回答存入一个文件夹。"),
    help=say(
        "Save an account in one folder: files, jobs, events, checkpoints, stored completions, batches, and, while the "
        "models still answer, the answers of each fine-tuned model to its validation questions. The folder contains "
        "JSON lines that can be read without Luthier. Only the answers cost money, never more than --max-cost over "
        "all runs. An interrupted command resumes when it is run again, and no answer is paid for twice. Exit code 0 "
        "if everything was recorded, 1 if something is missing, 2 if it could not run.\n\n"
        "Example: luthier migrate record --dry-run\n\n"
        "Example: luthier migrate record --out recording --max-cost 5",
        "把账号的内容存入一个文件夹：文件、任务、事件、检查点、保存的对话补全、批处理，"
        "以及每个微调模型趁还能调用时对验证问题的回答。文件夹里是 JSONL，不需要 Luthier 也能读。"
        "只有录制回答要花钱，历次运行合计不超过 --max-cost。中断后重新运行同一条命令会继续，同一个回答不会付费两次。"
        "全部录制完成时退出码为 0，有缺失时为 1，无法运行时为 2。\n\n"
        "例子：luthier migrate record --dry-run\n\n"
        "例子：luthier migrate record --out recording --max-cost 5",
    ),
)
@option(
    "--out",
    "The recording; an existing one is resumed.",
    "录制文件夹；已有的会接着录制。",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    metavar="FOLDER",
)
@option("--dry-run", "Only show what it would cost.", "只说明会花多少钱。", is_flag=True)
@click.option(
    "--max-cost",
    "--max-usd",
    "max_cost",
    type=click.FloatRange(min=0),
    metavar="USD",
    help=say("Cost limit of answers over all runs, in US dollars.", "录制回答的费用上限（美元），历次运行合计。"),
)
@option("--no-answers", "Record everything except answers, at no cost.", "不录制回答：免费。", is_flag=True)
@option(
    "--model",
    "Only the answers of this model; repeatable.",
    "只录制该模型的回答；可重复。",
    name="models",
    multiple=True,
    metavar="NAME",
)
@option(
    "--deployment",
    "The name under which a model is called, as on Azure; repeatable.",
    "模型的调用名（例如 Azure 的部署名）；可重复。",
    name="deployments",
    multiple=True,
    type=NamePair("MODEL=NAME"),
)
@option(
    "--prompts",
    "Also send these prompts to each model: JSONL with messages or prompt, or lines of text.",
    "另外向每个模型提出这些提示：含 messages 或 prompt 的 JSONL，或纯文本行。",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
)
@option(
    "--stored", "Also send the inputs of stored completions again.", "另外再次发送保存的对话补全的输入。", is_flag=True
)
@option(
    "--definitions",
    "Examples with functions: send them with definitions, without, or both.",
    "含函数的样本：带定义、不带定义，或两种都问。",
    type=click.Choice(["both", "full", "none"]),
    default="both",
)
@option(
    "--limit",
    "Examples per model and source; 0 for all.",
    "每个模型和来源的样本数；0 表示全部。",
    type=click.IntRange(min=0),
    default=200,
)
@option(
    "--max-tokens", "Token limit of each answer.", "每个回答的 token 上限。", type=click.IntRange(min=1), default=1024
)
@option("--concurrency", "Concurrent requests.", "并发请求数。", type=click.IntRange(min=1), default=4)
@option(
    "--requests-per-minute",
    "Rate limit of this command.",
    "本命令每分钟的请求数上限。",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
)
@option(
    "--price-in",
    "Price per million prompt tokens.",
    "每百万提示 token 的价格。",
    type=click.FloatRange(min=0),
    metavar="USD",
)
@option(
    "--price-out",
    "Price per million answer tokens.",
    "每百万输出 token 的价格。",
    type=click.FloatRange(min=0),
    metavar="USD",
)
@option(
    "--all-files",
    "Also files of other purposes (vision, assistants, user_data).",
    "也下载其他用途的文件（vision、assistants、user_data）。",
    is_flag=True,
)
@project_options
@account_options
@pass_options
def record(options: Options, /, project: str | None, organization: str | None, **flags: Any) -> None:
    from luthier.migrate.folder import RecordingFolder

    target = AccountOptions(options, project, organization)
    run = _Run(target, RecordingFolder(flags["out"]), _record_options(flags), bool(flags["no_answers"]))
    if flags["dry_run"]:
        run.dry_run()
        return
    recording = run.record()
    if options.json:
        print_json(recording.to_dict())
    else:
        print_recording(recording)
    raise click.exceptions.Exit(0 if recording.is_complete else 1)  # fmt: skip


def _record_options(flags: dict[str, Any]) -> RecordOptions:
    from luthier.generate.budget import Price
    from luthier.migrate.answers import AnswerOptions
    from luthier.migrate.recorder import RecordOptions

    prices = (flags["price_in"], flags["price_out"])
    if (prices[0] is None) != (prices[1] is None):
        raise CliError(
            say("A price has two parts.", "价格由两部分组成。"),
            say("Pass both --price-in and --price-out.", "请同时给出 --price-in 和 --price-out。"),
        )
    return RecordOptions(
        models=flags["models"],
        deployments=dict(flags["deployments"]),
        prompts=flags["prompts"],
        stored=flags["stored"],
        definitions=("full", "none") if flags["definitions"] == "both" else (flags["definitions"],),
        limit=flags["limit"] or None,
        all_files=flags["all_files"],
        price=Price(*prices) if prices[0] is not None else None,
        answers=AnswerOptions(
            max_tokens=flags["max_tokens"],
            cost_cap=flags["max_cost"],
            concurrency=flags["concurrency"],
            requests_per_minute=flags["requests_per_minute"],
        ),
    )


@dataclass
class _Run:
    """A run of the command."""

    target: AccountOptions
    folder: RecordingFolder
    options: RecordOptions
    no_answers: bool

    def dry_run(self) -> None:
        """Prints what a recording would contain and cost."""
        from luthier.migrate.recorder import dry_run

        async def plan() -> tuple[Any, list[ModelPlan]]:
            async with self.target.open() as account:
                with account_progress() as progress:
                    return await dry_run(account, self.folder, self.options, self.target.project, progress)

        with account_errors(self.target.address):
            inventory, plans = asyncio.run(plan())
        if self.target.options.json:
            print_json({"inventory": inventory.to_dict(), "plans": [plan.to_dict() for plan in plans]})
        else:
            print_plans(inventory, plans, self.options.answers.max_tokens)

    def record(self) -> Recording:
        """Records the account, then the answers as far as the cost cap allows, and writes the manifest after each."""
        from luthier.generate.journal import Journal

        self.folder.create()
        journal = Journal(self.folder.journal)
        try:
            with account_errors(self.target.address):
                recording, plans = asyncio.run(self._collect())
                recording.write_manifest()
                if not self.no_answers:
                    cap, recording.without_answers = self._cost_cap(plans, journal)
                    if recording.without_answers is None:
                        asyncio.run(self._answers(plans, journal, recording, cap))
                recording.write_manifest()
        except KeyboardInterrupt:
            note(say("Stopped. Everything recorded so far is in the folder: run the same command again to resume.",
                     "已停止。已录制的内容都在文件夹里：重新运行同一条命令即可继续。"))  # fmt: skip
            raise
        finally:
            journal.close()
        return recording

    async def _collect(self) -> tuple[Recording, list[ModelPlan]]:
        from luthier.migrate.recorder import Recorder, take_inventory

        async with self.target.open() as account:
            with account_progress() as progress:
                inventory = await take_inventory(account, self.target.project, progress)
                recorder = Recorder(account, self.folder, self.options, progress=progress)
                recording = await recorder.collect(inventory)
        return recording, recorder.plans(inventory)

    async def _answers(
        self, plans: Sequence[ModelPlan], journal: Journal, recording: Recording, cap: float | None
    ) -> None:
        from luthier.migrate.recorder import Recorder

        options = replace(self.options, answers=replace(self.options.answers, cost_cap=cap))
        async with self.target.open() as account:
            with account_progress() as progress:
                recorder = Recorder(account, self.folder, options, progress=progress)
                await recorder.record_answers(plans, journal, recording)

    def _cost_cap(self, plans: Sequence[ModelPlan], journal: Journal) -> tuple[float | None, str | None]:
        """The cost cap in US dollars (None for no cap), and the reason if no question may be sent (else None)."""
        from luthier.migrate.answers import budget_of

        cap = self.options.answers.cost_cap
        pending = [plan for plan in plans if plan.pending]
        unpriced = [plan.model.id for plan in pending if plan.price is None]
        max_cost = sum(plan.max_cost or 0 for plan in pending)
        count = sum(len(plan.pending) for plan in pending)
        if not count or (not max_cost and not unpriced):
            return cap, None
        if unpriced and cap is not None:
            return cap, say(
                f"The price of {unpriced[0]} is not known, so --max-cost cannot be enforced. Pass --price-in and "
                "--price-out.",
                f"不知道 {unpriced[0]} 的价格，无法保证不超过 --max-cost。请给出 --price-in 和 --price-out。",
            )
        text = cost_text(pending)
        if cap is not None:
            note(say(f"Sending {text}; capped at ${cap:.2f}.", f"开始提问：{text}；上限 ${cap:.2f}。"))
            return cap, None
        if sys.stdin.isatty() and click.confirm(say(f"{text}. Send them?", f"{text}。现在提问吗？"), err=True):
            budget = budget_of(journal, {plan.model.id: plan.price for plan in plans})
            return (None if unpriced else max_cost + budget.spent), None
        return None, say(
            f"No question was sent: {text}. Run the same command again with --max-cost USD.",
            f"没有提问：{text}。加上 --max-cost USD 重新运行同一条命令。",
        )
