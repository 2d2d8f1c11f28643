"""A run over function definitions, with a teacher or without, and its report.

Knows no terminal and writes no file but the teacher's journal.
"""

from collections import Counter
from typing import Any

import openai

from luthier.generate.errors import StopError
from luthier.generate.functions.calls import CallsRun, CallsWish, shares
from luthier.generate.functions.paraphrasers import TeacherPhraser, TemplatePhraser
from luthier.generate.functions.values import choices, is_closed
from luthier.generate.journal import Journal
from luthier.generate.list_prompts import Lists
from luthier.generate.report import diversity, usage_report
from luthier.generate.run import Outcome, Progress, Staff, Told, Ways, structured
from luthier.language import say


async def make_plain_calls(wish: CallsWish) -> Outcome:
    """Phrased by templates alone. Raises OptionsError for a parameter that nobody has values for."""
    run = CallsRun(wish, TemplatePhraser(wish.own, wish.language, wish.seed))
    await run.run()
    own = all(wish.own.phrasings.get(one.name) for one in wish.definitions)
    worth = say(
        "No teacher: the words are your own phrasings with values filled in. It teaches names, arguments and form; "
        "wishes worded quite otherwise need a teacher's or real users' words."
        if own
        else "No teacher: the words are stiff frames around the descriptions. It teaches names, arguments and form, "
        "good for trying the loop; real users will word things otherwise. Add phrasings with --values, or a teacher.",
        "没有教师模型：用的是你自己的说法，填上不同的取值。能教会函数名、参数和格式；"
        "差别很大的说法仍需要教师模型或真实用户的原话。"
        if own
        else "没有教师模型：用的是围绕描述的固定句式，比较生硬。能教会函数名、参数和格式，适合先走通流程；"
        "真实用户的说法会不一样。请用 --values 补充说法，或用教师模型。",
    )
    return Outcome(run.lines(), run.rejects, _report(run) | {"teacher": None, "worth": worth, "stopped": None})


async def make_calls(
    client: openai.AsyncOpenAI, ways: Ways, wish: CallsWish, journal: Journal, *, progress: Progress, told: Told
) -> Outcome:
    """Phrased by the teacher. Raises OptionsError as above, and a StopError that comes before anything was asked."""
    staff = Staff(client, ways, journal, progress)
    lists = Lists(staff.teacher, await structured(staff.teacher, told))
    run = CallsRun(wish, TeacherPhraser(lists, wish.language, wish.system, max_tokens=300), staff.on_made)
    await run.run()
    stopped: StopError | None = staff.stopped
    report = _report(run) | {
        "teacher": ways.teacher,
        "lists": {"structured": lists.structured, **lists.counts},
        "stopped": None if stopped is None else str(stopped),
        **usage_report(staff.all, journal),
    }
    return Outcome(run.lines(), run.rejects, report, stopped)


def _report(run: CallsRun) -> dict[str, Any]:
    wish, wanted = run.wish, shares(run.wish)
    kinds = Counter(one.kind for one in run.drafts)
    functions = Counter(call.definition.name for one in run.drafts for call in one.calls)
    return {
        "wanted": wish.count,
        "made": len(run.drafts),
        "form": wish.form,
        "with_definitions": wish.with_definitions,
        "by_kind": {kind: {"wanted": count, "made": kinds[kind]} for kind, count in wanted.items()},
        "by_function": {one.name: functions[one.name] for one in wish.definitions},
        "choices_covered": _covered(run),
        "calls_verified": sum(functions.values()),
        "rejected": dict(run.reasons.most_common()),
        "diversity": {"phrasings": diversity([one.user for one in run.drafts])},
    }


def _covered(run: CallsRun) -> dict[str, str]:
    """Of each closed parameter, how many of its values are called for: `set_light.room` 8/8."""
    calls = [call for one in run.drafts for call in one.calls]
    found = {}
    for definition in run.wish.definitions:
        for name, schema in definition.properties.items():
            if is_closed(schema):
                given = [c.arguments[name] for c in calls if c.definition == definition and name in c.arguments]
                every = choices(schema)
                found[f"{definition.name}.{name}"] = f"{sum(value in given for value in every)}/{len(every)}"
    return found
