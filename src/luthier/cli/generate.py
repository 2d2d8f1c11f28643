"""`luthier generate`: examples from a teacher, by topics or by function definitions.

All making is `luthier.generate`'s; this file reads the options, finds the teacher's service and shows what came out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import Connection, new_async_client, open_connection
from luthier.cli.errors import CliError
from luthier.cli.generate_options import PROBES, Asked, generate_options
from luthier.cli.generate_report import print_estimate, print_made, print_shares, progress_bar, short_kinds
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import note, print_json
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.generate.budget import Price
    from luthier.generate.files import OutputFiles
    from luthier.generate.functions.call_spec import CallSpec
    from luthier.generate.journal import Journal
    from luthier.generate.run import GenerationResult, Progress, TeacherOptions
    from luthier.generate.topics import TopicSpec

    Make = Callable[[openai.AsyncOpenAI, TeacherOptions, Journal, Progress], Awaitable[GenerationResult]]


@click.command(
    help=say(
        "Write training examples with a teacher model: topics become varied questions, and each answer is the "
        "teacher's reply to the bare question under --system, the prompt that the tuned model will be served with. "
        "Preambles are taken off, cut-off answers, refusals and copies are rejected, and a report beside the file "
        "counts it all. With --functions, calls are made from definitions and verified against them. Killed or "
        "stopped, the same command goes on where it was and pays for nothing twice. Exit code 0 if all was made, 1 if "
        "less, 2 if it could not run.\n\n"
        "Example: luthier generate --topic 股票投资 --topic 银行理财 --per-topic 10 --teacher gpt-4o --out qa.jsonl\n\n"
        "Example: luthier generate --functions tools.json --count 200 --teacher gpt-4o --out calls.jsonl",
        "用教师模型编写训练样本：从主题得到各不相同的问题，回答则是教师模型在 --system（微调后实际使用的系统提示词）下"
        "对原问题的直接回复。开头的“好的”之类会去掉，被截断的回答、拒答和重复会剔除，文件旁边的报告逐项计数。"
        "用 --functions 时，按函数定义生成调用并逐一核对。中途被杀或停下后，重新运行同一条命令会接着做，"
        "不会为同一个请求付两次钱。全部完成时退出码为 0，不足时为 1，无法运行时为 2。\n\n"
        "例子：luthier generate --topic 股票投资 --topic 银行理财 --per-topic 10 --teacher gpt-4o --out qa.jsonl\n\n"
        "例子：luthier generate --functions tools.json --count 200 --teacher gpt-4o --out calls.jsonl",
    )
)
@generate_options
@server_options
@pass_options
def generate(options: Options, /, **given: Any) -> None:
    asked = Asked(**given)
    if asked.topics and asked.functions:
        raise CliError(
            say("Topics or functions?", "主题还是函数？"),
            say("Make the two sets one after the other, each with its own --out.",
                "请分两次生成，各用各的 --out。"),
        )  # fmt: skip
    _refuse_idle(asked)
    if asked.functions:
        _calls(options, asked)
    else:
        _topics(options, asked)


def _refuse_idle(asked: Asked) -> None:
    """Options that would change nothing are said, not skipped."""
    idle: dict[str, object] = {"--values": asked.values, "--no-teacher": asked.no_teacher}
    idle["--without-definitions"], belongs = asked.without_definitions, "--functions"
    if asked.functions:
        idle, belongs = {"--judge": asked.judge, "--style": asked.style}, "--topic"
        idle |= {"--task": asked.task, "--persona": asked.persona}
    if asked.no_teacher and asked.teacher:
        raise CliError(
            say("With a teacher or without?", "要不要教师模型？"),
            say("Give --teacher or --no-teacher.", "--teacher 和 --no-teacher 只能选一个。"),
        )
    if flags := [flag for flag, given in idle.items() if given]:
        raise CliError(
            say(f"{flags[0]} does nothing here.", f"{flags[0]} 在这里不起作用。"),
            say(f"It belongs to {belongs}.", f"它要配合 {belongs} 使用。"),
        )


def _topics(options: Options, asked: Asked) -> None:
    from luthier.generate.run import generate_from_topics

    wish = _topics_wish(asked)
    if asked.dry_run:
        print_estimate(options.json, wish, _dry(asked, wish))
        return

    def make(
        client: openai.AsyncOpenAI, ways: TeacherOptions, journal: Journal, progress: Progress
    ) -> Awaitable[GenerationResult]:
        return generate_from_topics(client, ways, wish, journal, progress=progress, notify=note)

    with open_connection(options) as connection:
        outcome, places = _run(connection, asked, wish.plan.total, make)
    if asked.probe:
        print_estimate(options.json, wish, outcome.report["estimate"])
    else:
        _end(options, places, outcome)


def _calls(options: Options, asked: Asked) -> None:
    from luthier.generate.functions.run import generate_calls, generate_calls_from_templates

    wish = _calls_wish(asked)
    if asked.dry_run or asked.probe:
        print_shares(options.json, wish)
        return
    if asked.no_teacher:
        places = _made_ready(asked, None)
        outcome = asyncio.run(generate_calls_from_templates(wish))
        places.write(outcome.examples, outcome.rejects, outcome.report, None)
        _end(options, places, outcome)

    def make(
        client: openai.AsyncOpenAI, ways: TeacherOptions, journal: Journal, progress: Progress
    ) -> Awaitable[GenerationResult]:
        return generate_calls(client, ways, wish, journal, progress=progress, notify=note)

    _require_teacher(asked, say(" or --no-teacher for templates", "，或用 --no-teacher 套模板"))
    with open_connection(options) as connection:
        outcome, places = _run(connection, asked, wish.count, make)
    _end(options, places, outcome)


def _end(options: Options, places: OutputFiles, outcome: GenerationResult) -> None:
    if options.json:
        print_json(outcome.report)
    else:
        print_made(places, outcome)
    complete = outcome.report["made"] == outcome.report["wanted"] and not short_kinds(outcome.report)
    raise click.exceptions.Exit(0 if complete else 1)


def _topics_wish(asked: Asked) -> TopicSpec:
    from luthier.generate.plan import Plan, detect_language
    from luthier.generate.topics import TopicSpec

    topics = tuple(dict.fromkeys(topic.strip() for topic in asked.topics if topic.strip()))
    if not topics:
        raise CliError(
            say("There is nothing to write about.", "没有可写的内容。"),
            say("Give topics (--topic 股票投资 --topic 银行理财) or definitions (--functions FILE).",
                "请给出主题（--topic 股票投资 --topic 银行理财）或函数定义（--functions FILE）。"),
        )  # fmt: skip
    _require_teacher(asked)
    language = "zh" if asked.language == "zh" else "en" if asked.language else detect_language(topics)
    plan = Plan(topics, asked.per_topic, asked.seed, language, asked.task, asked.persona)
    return TopicSpec(
        plan, asked.system, asked.style, asked.sub_topics, asked.batch, asked.max_tokens, asked.temperature
    )


def _calls_wish(asked: Asked) -> CallSpec:
    from luthier.generate.functions.call_spec import CallSpec
    from luthier.generate.functions.definitions import detect_language, read_definitions
    from luthier.generate.functions.values import UserContent, read_user_content

    assert asked.functions  # noqa: S101 - the caller's branch
    definitions = read_definitions(asked.functions)
    language = "zh" if asked.language == "zh" else "en" if asked.language else detect_language(definitions)
    return CallSpec(
        definitions=tuple(definitions),
        count=asked.count,
        seed=asked.seed,
        language=language,
        form="functions" if asked.form == "functions" else "tools",
        with_definitions=not asked.without_definitions,
        system=asked.system,
        user_content=read_user_content(asked.values) if asked.values else UserContent(),
        each=asked.phrasings,
    )


def _require_teacher(asked: Asked, otherwise: str = "") -> None:
    if asked.teacher and not asked.no_teacher:
        return
    raise CliError(
        say("Who should write the examples?", "由哪个模型来编写样本？"),
        say(f"Name a model with --teacher{otherwise}; `luthier models` lists those of the server.",
            f"请用 --teacher 指定模型{otherwise}；`luthier models` 会列出服务器上的模型。"),
    )  # fmt: skip


def _dry(asked: Asked, wish: TopicSpec) -> dict[str, Any]:
    from luthier.generate.budget import published_price
    from luthier.generate.cost_forecast import estimate, expected_requests

    requests = expected_requests(wish, asked.judge is not None)
    price = _price(asked.price_in, asked.price_out) or published_price(asked.teacher or "")
    judge_price = _price(asked.judge_price_in, asked.judge_price_out) or published_price(asked.judge or "")
    if asked.judge == asked.teacher:
        judge_price = price
    return {"requests": requests, **estimate(wish, requests, price, {}, judge_price)}


def _made_ready(asked: Asked, journal: Journal | None) -> OutputFiles:
    from luthier.generate.files import OutputFiles

    places = OutputFiles(asked.out)
    places.out.parent.mkdir(parents=True, exist_ok=True)
    if not asked.force and not asked.probe:
        places.check_overwrite(journal)
    return places


def _run(connection: Connection, asked: Asked, total: int, make: Make) -> tuple[GenerationResult, OutputFiles]:
    """With a teacher: the journal is open for as long as it is asked."""
    from luthier.generate.files import OutputFiles
    from luthier.generate.journal import Journal

    ways = _ways(connection, asked)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(OutputFiles(asked.out).journal)

    async def run() -> GenerationResult:
        async with new_async_client(connection.client, asked.timeout) as client:
            with progress_bar(total) as progress:
                return await make(client, ways, journal, progress)

    try:
        places = _made_ready(asked, journal)
        outcome = asyncio.run(run())
        if not asked.probe:
            places.write(outcome.examples, outcome.rejects, outcome.report, journal)
    except KeyboardInterrupt:
        note(say("Stopped. What was paid for is in the journal: the same command goes on from here.",
                 "已停止。付过费的回答都在运行日志里：重新运行同一条命令即可继续。"))  # fmt: skip
        raise
    finally:
        journal.close()
    return outcome, places


def _ways(connection: Connection, asked: Asked) -> TeacherOptions:
    from luthier.generate.run import TeacherOptions

    if asked.judge == asked.teacher:
        note(say("The judge is the teacher: models are kind to their own answers.",
                 "评审模型就是教师模型：模型对自己的回答往往手软。"), "yellow")  # fmt: skip
    prices = {asked.teacher or "": _price(asked.price_in, asked.price_out)}
    if asked.judge:
        prices.setdefault(asked.judge, _price(asked.judge_price_in, asked.judge_price_out))
    return TeacherOptions(
        teacher=asked.teacher or "",
        judge=asked.judge,
        prices={model: given or _price_of(connection, model) for model, given in prices.items()},
        cost_cap=asked.max_cost,
        concurrency=asked.concurrency,
        requests_per_minute=asked.requests_per_minute,
        tokens_per_minute=asked.tokens_per_minute,
        max_requests=PROBES if asked.probe else None,
    )


def _price(prompt: float | None, completion: float | None) -> Price | None:
    from luthier.generate.budget import Price

    if prompt is None and completion is None:
        return None
    if prompt is None or completion is None:
        raise CliError(
            say("A price has two parts.", "价格要成对给出。"),
            say("Give both --price-in and --price-out.", "请同时给出 --price-in 和 --price-out。"),
        )
    return Price(prompt, completion)


def _price_of(connection: Connection, model: str) -> Price | None:
    """Nothing for weights that this project serves; else what OpenAI published for that name, if it did."""
    import openai

    from luthier.generate.budget import FREE, published_price

    try:
        owner = connection.client.models.retrieve(model).owned_by
    except openai.APIStatusError:
        owner = ""  # services that list no models still answer chats
    return FREE if owner == "luthier" or (connection.embedded and owner != "upstream") else published_price(model)
