"""An evaluation from beginning to end: examples in, questions and losses through a service, a report out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.data.examples.example import Example, read_examples
from luthier.data.examples.tool_definitions import Shown
from luthier.data.rendering.tool_dropout import show
from luthier.evaluation import losses, text_report, tool_call_report
from luthier.evaluation.cases import Case, cases, known_definitions
from luthier.evaluation.report import Report, report
from luthier.evaluation.sample_answers import ask_all
from luthier.evaluation.service import OpenAIService, Service
from luthier.language import say
from luthier.types.errors import LuthierError
from luthier.types.evaluations import ExampleLoss

if TYPE_CHECKING:
    import openai

_LOSSES_AT_ONCE = 8


@dataclass(frozen=True)
class Questions:
    """Held-out examples and the cases made of them, in the same order; `whole`: they are all of their file."""

    file: str
    examples: list[Example]
    cases: list[Case]
    whole: bool


@dataclass(frozen=True)
class Plan:
    """`models`: the one that is judged, then those that it is held against; `shown`: how definitions are sent."""

    models: Sequence[str]
    functions: bool = False
    shown: Sequence[Shown] = ()
    max_tokens: int | None = None
    concurrency: int = 8

    @property
    def modes(self) -> Sequence[Shown]:
        return (self.shown or ("full", "none")) if self.functions else ("full",)

    def steps(self, questions: Questions) -> int:
        """How often `on_step` is called: for each answer, and for each loss."""
        return 2 * len(questions.cases) * len(self.models) * len(self.modes)


def evaluate(
    client: "openai.OpenAI",
    model: str,
    file: str | Path,
    *,
    against: Sequence[str] = (),
    functions: bool = False,
    definitions: Sequence[Shown] = (),
    tools: list[dict[str, Any]] | None = None,
    limit: int | None = None,
    max_tokens: int | None = None,
    concurrency: int = 8,
    on_step: Callable[[], None] = lambda: None,
) -> Report:
    """The report card of `model` on a JSONL file of held-out examples, beside the models of `against`.

    `client`: of any service with OpenAI's API. `functions`: answers are calls, with definitions sent as each of
    `definitions` says ("full", "slim", "none"; full and none unless given); else they are texts. `tools`: definitions
    for examples that carry none. `limit`: the first so many examples only. Raises LuthierError for a file that cannot
    be asked, and what the client raises.

        from openai import OpenAI
        from luthier.evaluation import evaluate
        report = evaluate(OpenAI(base_url="http://127.0.0.1:8000/v1"), "ft:…", "valid.jsonl", against=["gpt-3.5-turbo"])
        print(report.to_dict()["runs"][0]["figures"], report.advice())
    """
    models = list(dict.fromkeys([model, *against]))
    plan = Plan(models, functions, definitions, max_tokens, concurrency)
    return run(OpenAIService(client), plan, read(Path(file), plan, tools=tools, limit=limit), on_step)


def read(
    path: Path,
    plan: Plan,
    *,
    name: str | None = None,
    tools: list[dict[str, Any]] | None = None,
    limit: int | None = None,
) -> Questions:
    """The questions of a file, which reports call `name`. Raises LuthierError."""
    examples = list(islice(read_examples(path), None if limit is None else limit + 1))
    whole = limit is None or len(examples) <= limit
    examples = examples[:limit]
    made = list(cases(examples, tools))
    name = name or path.name
    if not made:
        raise LuthierError(say(f"{name} has no examples.", f"{name} 中没有样本。"))
    if plan.functions and not any(case.wanted for case in made):
        raise LuthierError(
            say(
                f"No example of {name} ends with a call, so there are no calls to score; its texts can be.",
                f"{name} 中没有以函数调用结尾的样本，无法评估函数调用；可以评估文本回答。",
            )
        )
    return Questions(name, examples, made, whole)


def run(service: Service, plan: Plan, questions: Questions, on_step: Callable[[], None] = lambda: None) -> Report:
    """Every model, one after the other, with each way of showing definitions. What `on_step` raises ends it."""
    made = [
        _one(service, plan, questions, model, shown, on_step) for model in plan.models for shown in plan.modes
    ]  # fmt: skip
    return report(
        "functions" if plan.functions else "text",
        questions.file,
        len(questions.cases),
        made,
        service.history(plan.models[0]),
    )


def _one(
    service: Service, plan: Plan, questions: Questions, model: str, shown: Shown, on_step: Callable[[], None]
) -> tool_call_report.Run:
    asked = questions.cases
    answers = ask_all(
        service.complete,
        model,
        asked,
        shown,
        max_tokens=plan.max_tokens,
        concurrency=plan.concurrency,
        on_answer=on_step,
    )
    if plan.functions:
        made = tool_call_report.card(model, shown, asked, answers, known_definitions(asked))
    else:
        made = text_report.card(model, asked, answers)
    try:
        found = _losses(service, questions, model, shown, on_step)
    except losses.NotOfferedError:
        why = say(
            f"not available from the service of {model}: it tells no probabilities of given texts",
            f"{model} 所在的服务不提供：它不给出指定文本的概率",
        )
        return replace(made, not_available=dict.fromkeys(losses.names(whole=questions.whole), why))
    figures, scores = losses.figures(found, whole=questions.whole)
    return replace(
        made,
        figures={**made.figures, **figures},
        scores={**made.scores, **scores},
        loss_tokens=[one.tokens for one in found],
    )


def _losses(
    service: Service, questions: Questions, model: str, shown: Shown, on_step: Callable[[], None]
) -> list[ExampleLoss]:
    sent = [
        _as_sent(example, case, shown) for example, case in zip(questions.examples, questions.cases, strict=True)
    ]  # fmt: skip
    found: list[ExampleLoss] = []
    for begin in range(0, len(sent), _LOSSES_AT_ONCE):
        part = sent[begin : begin + _LOSSES_AT_ONCE]
        found += service.losses(model, part)
        for _ in part:
            on_step()
    return found


def _as_sent(example: Example, case: Case, shown: Shown) -> dict[str, Any]:
    """As training would show it; `acceptable` is for scoring only."""
    seen = show(replace(example, tools=case.tools, functions=None), shown)
    messages = [{key: value for key, value in one.items() if key != "acceptable"} for one in seen.messages]
    return {"messages": messages, "tools": seen.tools} if seen.tools else {"messages": messages}
