"""`luthier generate`: generates training examples with a teacher model, from topics or function definitions.

`luthier.generate` does the work; this module reads the options, connects to the teacher and prints the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import Connection, new_async_client, open_connection
from luthier.cli.errors import CliError
from luthier.cli.generate_options import PROBE_REQUESTS, GenerateOptions, generate_options
from luthier.cli.generate_report import print_call_plan, print_estimate, print_result, progress_bar, unmet_kinds
from luthier.cli.generate_teacher import confirm_teacher
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

    Generator = Callable[[openai.AsyncOpenAI, TeacherOptions, Journal, Progress], Awaitable[GenerationResult]]


@click.command(
    help=say(
        "Generate training examples with a teacher model. Topics become varied questions; each answer is the teacher's "
        "reply to the question alone under --system, the system prompt of serving. Preambles are removed; truncated "
        "answers, refusals and duplicates are rejected; a report beside the file counts all of it. With --functions, "
        "tool calls are generated from definitions and verified against them. An interrupted command resumes when it "
        "is run again, and no request is paid for twice. Exit code 0 if all examples were generated, 1 if fewer, 2 if "
        "it could not run.\n\n"
        "Example: luthier generate --topic 股票投资 --topic 银行理财 --per-topic 10 --teacher gpt-4o --out qa.jsonl\n\n"
        "Example: luthier generate --functions tools.json --count 200 --teacher gpt-4o --out calls.jsonl",
        "用教师模型生成训练样本。主题变成各不相同的问题；回答是教师模型在 --system（推理时的系统提示）下对问题的回复。"
        "开头的应答语会去掉；被截断的回答、拒答和重复会剔除；文件旁边的报告逐项计数。"
        "用 --functions 时，按函数定义生成调用并逐一校验。中断后重新运行同一条命令会继续，同一个请求不会付费两次。"
        "全部完成时退出码为 0，不足时为 1，无法运行时为 2。\n\n"
        "例子：luthier generate --topic 股票投资 --topic 银行理财 --per-topic 10 --teacher gpt-4o --out qa.jsonl\n\n"
        "例子：luthier generate --functions tools.json --count 200 --teacher gpt-4o --out calls.jsonl",
    )
)
@generate_options
@server_options
@pass_options
def generate(options: Options, /, **flags: Any) -> None:
    generation = GenerateOptions.from_flags(flags)
    if generation.topic.topics and generation.call.functions:
        raise CliError(
            say("--topic and --functions cannot be combined.", "--topic 和 --functions 不能同时使用。"),
            say("Generate the two files one after the other, each with its own --out.",
                "请分两次生成，各用各的 --out。"),
        )  # fmt: skip
    _reject_unused_flags(generation)
    if generation.call.functions:
        _generate_calls(options, generation)
    else:
        _generate_topics(options, generation)


def _reject_unused_flags(options: GenerateOptions) -> None:
    """Raises CliError for flags that have no effect in the selected mode."""
    topic, call, models = options.topic, options.call, options.models
    if call.no_teacher and models.teacher:
        raise CliError(
            say("--teacher and --no-teacher cannot be combined.", "--teacher 和 --no-teacher 不能同时使用。"),
            say("Leave out one of them.", "请去掉其中一个。"),
        )
    if call.functions:
        mode = "--topic"
        unused: dict[str, object] = {"--judge": models.judge, "--style": topic.style}
        unused |= {"--task": topic.task, "--persona": topic.persona}
    else:
        mode = "--functions"
        unused = {"--values": call.values, "--no-teacher": call.no_teacher}
        unused["--without-definitions"] = call.without_definitions
    if flags := [flag for flag, value in unused.items() if value]:
        raise CliError(
            say(f"{flags[0]} has no effect here.", f"{flags[0]} 在这里不起作用。"),
            say(f"Use it with {mode}.", f"它要与 {mode} 一起使用。"),
        )


def _generate_topics(options: Options, generation: GenerateOptions) -> None:
    """Generates questions and answers, or prints the plan or the estimate."""
    from luthier.generate.run import generate_from_topics

    spec = _topic_spec(generation)
    if generation.dry_run:
        print_estimate(options.json, spec, _forecast(generation, spec), generation.models.teacher)
        return

    def run(
        client: openai.AsyncOpenAI, teacher: TeacherOptions, journal: Journal, progress: Progress
    ) -> Awaitable[GenerationResult]:
        return generate_from_topics(client, teacher, spec, journal, progress=progress, notify=note)

    with open_connection(options) as connection:
        result, files = _run(connection, generation, spec.plan.total, run)
    if generation.probe:
        print_estimate(options.json, spec, result.report["estimate"], generation.models.teacher)
    else:
        _finish(options, files, result)


def _generate_calls(options: Options, generation: GenerateOptions) -> None:
    """Generates tool calls with a teacher or with templates, or prints the plan."""
    from luthier.generate.functions.run import generate_calls, generate_calls_from_templates

    spec = _call_spec(generation)
    if generation.dry_run or generation.probe:
        print_call_plan(options.json, spec)
        return
    if generation.call.no_teacher:
        files = _output_files(generation, None)
        result = asyncio.run(generate_calls_from_templates(spec))
        files.write(result.examples, result.rejects, result.report, None)
        _finish(options, files, result)

    def run(
        client: openai.AsyncOpenAI, teacher: TeacherOptions, journal: Journal, progress: Progress
    ) -> Awaitable[GenerationResult]:
        return generate_calls(client, teacher, spec, journal, progress=progress, notify=note)

    _require_teacher(generation, say(", or use templates with --no-teacher", "，或用 --no-teacher 使用模板"))
    with open_connection(options) as connection:
        result, files = _run(connection, generation, spec.count, run)
    _finish(options, files, result)


def _finish(options: Options, files: OutputFiles, result: GenerationResult) -> None:
    if options.json:
        print_json(result.report)
    else:
        print_result(files, result)
    complete = result.report["made"] == result.report["wanted"] and not unmet_kinds(result.report)
    raise click.exceptions.Exit(0 if complete else 1)


def _topic_spec(options: GenerateOptions) -> TopicSpec:
    from luthier.generate.plan import Plan, detect_language
    from luthier.generate.topics import TopicSpec

    topic = options.topic
    topics = tuple(dict.fromkeys(name.strip() for name in topic.topics if name.strip()))
    if not topics:
        raise CliError(
            say("There is nothing to generate.", "没有可生成的内容。"),
            say("Pass topics (--topic 股票投资 --topic 银行理财) or tool definitions (--functions FILE).",
                "请给出主题（--topic 股票投资 --topic 银行理财）或函数定义（--functions FILE）。"),
        )  # fmt: skip
    _require_teacher(options)
    language = "zh" if options.language == "zh" else "en" if options.language else detect_language(topics)
    plan = Plan(topics, topic.per_topic, options.seed, language, topic.task, topic.persona)
    return TopicSpec(
        plan, options.system, topic.style, topic.sub_topics, topic.batch, topic.max_tokens, topic.temperature
    )


def _call_spec(options: GenerateOptions) -> CallSpec:
    from luthier.generate.functions.call_spec import CallSpec
    from luthier.generate.functions.definitions import detect_language, read_definitions
    from luthier.generate.functions.values import UserContent, read_user_content

    call = options.call
    assert call.functions  # noqa: S101 - checked by the caller
    definitions = read_definitions(call.functions)
    language = "zh" if options.language == "zh" else "en" if options.language else detect_language(definitions)
    return CallSpec(
        definitions=tuple(definitions),
        count=call.count,
        seed=options.seed,
        language=language,
        form="functions" if call.form == "functions" else "tools",
        with_definitions=not call.without_definitions,
        system=options.system,
        user_content=read_user_content(call.values) if call.values else UserContent(),
        each=call.phrasings,
    )


def _require_teacher(options: GenerateOptions, alternative: str = "") -> None:
    if options.models.teacher and not options.call.no_teacher:
        return
    raise CliError(
        say("There is no teacher model.", "没有指定教师模型。"),
        say(f"Choose one with --teacher{alternative}; `luthier models` lists the models of the server.",
            f"请用 --teacher 指定{alternative}；`luthier models` 会列出服务器上的模型。"),
    )  # fmt: skip


def _forecast(options: GenerateOptions, spec: TopicSpec) -> dict[str, Any]:
    """The expected number of requests, and the cost if every reply reaches its token limit."""
    from luthier.generate.budget import published_price
    from luthier.generate.cost_forecast import estimate, expected_requests

    teacher, judge = options.models.teacher, options.models.judge
    requests = expected_requests(spec, judge is not None)
    price = _teacher_price(options) or published_price(teacher or "")
    judge_price = price if judge == teacher else _judge_price(options) or published_price(judge or "")
    return {"requests": requests, **estimate(spec, requests, price, {}, judge_price)}


def _output_files(options: GenerateOptions, journal: Journal | None) -> OutputFiles:
    from luthier.generate.files import OutputFiles

    files = OutputFiles(options.out)
    files.out.parent.mkdir(parents=True, exist_ok=True)
    if not options.force and not options.probe:
        files.check_overwrite(journal)
    return files


def _run(
    connection: Connection, options: GenerateOptions, total: int, generator: Generator
) -> tuple[GenerationResult, OutputFiles]:
    """Runs a generator with the teacher and writes the output files, with the journal open all the time."""
    from luthier.generate.files import OutputFiles
    from luthier.generate.journal import Journal

    for flag, model in (("--teacher", options.models.teacher), ("--judge", options.models.judge)):
        if model:
            confirm_teacher(connection, flag, model, yes=options.yes)
    teacher = _teacher_options(connection, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(OutputFiles(options.out).journal)

    async def run() -> GenerationResult:
        async with new_async_client(connection.client, options.models.timeout) as client:
            with progress_bar(total) as progress:
                return await generator(client, teacher, journal, progress)

    try:
        files = _output_files(options, journal)
        result = asyncio.run(run())
        if not options.probe:
            files.write(result.examples, result.rejects, result.report, journal)
    except KeyboardInterrupt:
        note(say("Stopped. Replies so far are in the journal: run the same command again to resume.",
                 "已停止。已有的回复保存在运行日志里：重新运行同一条命令即可继续。"))  # fmt: skip
        raise
    finally:
        journal.close()
    return result, files


def _teacher_options(connection: Connection, options: GenerateOptions) -> TeacherOptions:
    """The models and limits of the run, with prices from the flags, else from what is published."""
    from luthier.generate.run import TeacherOptions

    models = options.models
    if models.judge == models.teacher:
        note(say("The judge is the teacher itself: models score their own answers too high.",
                 "评审模型就是教师模型：模型对自己的回答往往打分偏高。"), "yellow")  # fmt: skip
    prices = {models.teacher or "": _teacher_price(options)}
    if models.judge:
        prices.setdefault(models.judge, _judge_price(options))
    return TeacherOptions(
        teacher=models.teacher or "",
        judge=models.judge,
        prices={model: price or _lookup_price(connection, model) for model, price in prices.items()},
        cost_cap=options.cost.max_cost,
        concurrency=models.concurrency,
        requests_per_minute=models.requests_per_minute,
        tokens_per_minute=models.tokens_per_minute,
        max_requests=PROBE_REQUESTS if options.probe else None,
    )


def _teacher_price(options: GenerateOptions) -> Price | None:
    return _price("--price", options.cost.price_in, options.cost.price_out)


def _judge_price(options: GenerateOptions) -> Price | None:
    return _price("--judge-price", options.cost.judge_price_in, options.cost.judge_price_out)


def _price(flag: str, prompt: float | None, completion: float | None) -> Price | None:
    from luthier.generate.budget import Price

    if prompt is None and completion is None:
        return None
    if prompt is None or completion is None:
        raise CliError(
            say("A price has two parts.", "价格由两部分组成。"),
            say(f"Pass both {flag}-in and {flag}-out.", f"请同时给出 {flag}-in 和 {flag}-out。"),
        )
    return Price(prompt, completion)


def _lookup_price(connection: Connection, model: str) -> Price | None:
    """The price of a model: free if Luthier serves it, else what OpenAI has published for the name; None if unknown."""
    import openai

    from luthier.generate.budget import FREE, published_price

    try:
        owner = connection.client.models.retrieve(model).owned_by
    except openai.APIStatusError:
        owner = ""  # a service may serve chat completions without listing its models
    return FREE if owner == "luthier" or (connection.embedded and owner != "upstream") else published_price(model)
