"""Runs that generate tool calls, with a teacher or with templates, and their report."""

from collections import Counter
from typing import Any

import openai

from luthier.generate.functions.call_spec import CallSpec, kind_counts
from luthier.generate.functions.calls import CallRun
from luthier.generate.functions.paraphrasers import TeacherParaphraser, TemplateParaphraser
from luthier.generate.functions.values import closed_values, is_closed
from luthier.generate.journal import Journal
from luthier.generate.list_prompts import ListPrompter
from luthier.generate.report import diversity, usage_report
from luthier.generate.run import (
    GenerationResult,
    Notify,
    Progress,
    RunContext,
    TeacherOptions,
    supports_structured_output,
)
from luthier.language import say


async def generate_calls_from_templates(spec: CallSpec) -> GenerationResult:
    """Generates tool calls without a teacher. Raises OptionsError if no values are known for a text parameter."""
    run = CallRun(spec, TemplateParaphraser(spec.user_content, spec.language, spec.seed))
    await run.run()
    return GenerationResult(
        run.lines(), run.rejects, _report(run) | {"teacher": None, "worth": _worth(spec), "stopped": None}
    )


def _worth(spec: CallSpec) -> str:
    """A sentence of the report: what a model can learn from the examples."""
    if all(spec.user_content.phrasings.get(definition.name) for definition in spec.definitions):
        return say(
            "No teacher: the messages are your own phrasings with values filled in. They teach names, arguments and "
            "form; requests in other words need a teacher's or real users' messages.",
            "没有教师模型：用的是你自己的说法，填上不同的取值。能教会函数名、参数和格式；"
            "差别很大的说法仍需要教师模型或真实用户的原话。",
        )
    return say(
        "No teacher: the messages are stiff frames around the descriptions. They teach names, arguments and form, good "
        "for trying the workflow; real users phrase requests differently. Add phrasings with --values, or a teacher.",
        "没有教师模型：用的是围绕描述的固定句式，比较生硬。能教会函数名、参数和格式，适合先走通流程；"
        "真实用户的说法会不一样。请用 --values 补充说法，或用教师模型。",
    )


async def generate_calls(
    client: openai.AsyncOpenAI,
    options: TeacherOptions,
    spec: CallSpec,
    journal: Journal,
    *,
    progress: Progress,
    notify: Notify,
) -> GenerationResult:
    """Generates tool calls with a teacher.

    Raises:
        OptionsError: No values are known for a text parameter, or the budget cannot be enforced.
        RunStoppedError: The first request failed.
    """
    context = RunContext(client, options, journal, progress)
    lists = ListPrompter(context.teacher, await supports_structured_output(context.teacher, notify))
    paraphraser = TeacherParaphraser(lists, spec.language, spec.system, max_tokens=300)
    run = CallRun(spec, paraphraser, context.on_examples)
    await run.run()
    stopped = context.stopped
    report = _report(run) | {
        "teacher": options.teacher,
        "lists": {"structured": lists.structured, **lists.counts},
        "stopped": None if stopped is None else str(stopped),
        **usage_report(context.teachers, journal),
    }
    return GenerationResult(run.lines(), [*run.rejects, *lists.reject_lines()], report, stopped)


def _report(run: CallRun) -> dict[str, Any]:
    """The report of a run, without the usage of the teacher."""
    spec, counts = run.spec, kind_counts(run.spec)
    kinds = Counter(draft.kind for draft in run.drafts)
    functions = Counter(call.definition.name for draft in run.drafts for call in draft.calls)
    return {
        "wanted": spec.count,
        "made": len(run.drafts),
        "form": spec.form,
        "with_definitions": spec.with_definitions,
        "by_kind": {kind: {"wanted": count, "made": kinds[kind]} for kind, count in counts.items()},
        "by_function": {definition.name: functions[definition.name] for definition in spec.definitions},
        "choices_covered": _value_coverage(run),
        "calls_verified": sum(functions.values()),
        "rejected": dict(run.reasons.most_common()),
        "diversity": {"phrasings": diversity([draft.user for draft in run.drafts])},
    }


def _value_coverage(run: CallRun) -> dict[str, str]:
    """For each closed parameter, the share of its values that occur in calls, such as 8/8 for `set_light.room`."""
    calls = [call for draft in run.drafts for call in draft.calls]
    coverage = {}
    for definition in run.spec.definitions:
        arguments = [call.arguments for call in calls if call.definition == definition]
        for name, schema in definition.properties.items():
            if is_closed(schema):
                used = [values[name] for values in arguments if name in values]
                possible = closed_values(schema)
                coverage[f"{definition.name}.{name}"] = f"{sum(value in used for value in possible)}/{len(possible)}"
    return coverage
