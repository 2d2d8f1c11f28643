"""An evaluation from start to finish: held-out examples in, answers and losses from a service, a report out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.data.examples.example import Example, read_examples
from luthier.data.examples.tool_definitions import DefinitionDetail
from luthier.data.rendering.tool_dropout import apply_detail
from luthier.evaluation.cases import Case, build_cases, merge_definitions
from luthier.evaluation.losses import LossesNotAvailableError, loss_metric_names, loss_metrics
from luthier.evaluation.model_run import ModelRun
from luthier.evaluation.report import Report, build_report
from luthier.evaluation.sample_answers import sample_answers
from luthier.evaluation.service import OpenAIService, Service
from luthier.evaluation.text_report import summarize_texts
from luthier.evaluation.tool_call_report import summarize_tool_calls
from luthier.language import say
from luthier.types.errors import LuthierError
from luthier.types.evaluations import ExampleLoss

if TYPE_CHECKING:
    import openai

_LOSSES_PER_REQUEST = 8


@dataclass(frozen=True)
class EvaluationSet:
    """Held-out examples and their cases, in the same order. `complete`: whether these are all examples of the file."""

    file: str
    examples: list[Example]
    cases: list[Case]
    complete: bool


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate.

    Attributes:
        models: The evaluated model, then the models to compare it with.
        functions: Whether tool calls are scored, otherwise texts.
        definitions: The details of definitions to run with, if tool calls are scored; empty: full and none.
        max_tokens: The limit of an answer; None: the service's default.
        concurrency: The number of simultaneous requests.
    """

    models: Sequence[str]
    functions: bool = False
    definitions: Sequence[DefinitionDetail] = ()
    max_tokens: int | None = None
    concurrency: int = 8

    @property
    def modes(self) -> Sequence[DefinitionDetail]:
        return (self.definitions or ("full", "none")) if self.functions else ("full",)

    def total_steps(self, evaluation_set: EvaluationSet) -> int:
        """The number of calls of `on_step`: one per answer and one per loss."""
        return 2 * len(evaluation_set.cases) * len(self.models) * len(self.modes)


def evaluate(
    client: "openai.OpenAI",
    model: str,
    file: str | Path,
    *,
    against: Sequence[str] = (),
    functions: bool = False,
    definitions: Sequence[DefinitionDetail] = (),
    tools: list[dict[str, Any]] | None = None,
    limit: int | None = None,
    max_tokens: int | None = None,
    concurrency: int = 8,
    on_step: Callable[[], None] = lambda: None,
) -> Report:
    """Evaluates a model on a JSONL file of held-out examples, and compares it with the models of `against`.

    `client`: for any service with OpenAI's API. `functions`: whether tool calls are scored, once for each detail in
    `definitions` ("full", "slim", "none"; by default full and none); otherwise texts are. `tools`: definitions for
    examples that have none. `limit`: the number of examples, from the first on. `on_step` is called after each answer
    and each loss. Raises LuthierError for a file that is not an evaluation set, and the client's errors.

        from openai import OpenAI
        from luthier.evaluation import evaluate
        report = evaluate(OpenAI(base_url="http://127.0.0.1:8000/v1"), "ft:…", "valid.jsonl", against=["gpt-3.5-turbo"])
        print(report.to_dict()["runs"][0]["figures"], report.advice())
    """
    models = list(dict.fromkeys([model, *against]))
    plan = EvaluationPlan(models, functions, definitions, max_tokens, concurrency)
    evaluation_set = load_evaluation_set(Path(file), plan, tools=tools, limit=limit)
    return run_evaluation(OpenAIService(client), plan, evaluation_set, on_step)


def load_evaluation_set(
    path: Path,
    plan: EvaluationPlan,
    *,
    name: str | None = None,
    tools: list[dict[str, Any]] | None = None,
    limit: int | None = None,
) -> EvaluationSet:
    """Reads the cases of a file; `name`: the file's name in the report. Raises LuthierError."""
    examples = list(islice(read_examples(path), None if limit is None else limit + 1))
    complete = limit is None or len(examples) <= limit
    examples = examples[:limit]
    cases = list(build_cases(examples, tools))
    name = name or path.name
    if not cases:
        raise LuthierError(say(f"{name} has no examples.", f"{name} 中没有样本。"))
    if plan.functions and not any(case.expected_calls for case in cases):
        raise LuthierError(
            say(
                f"No example of {name} ends with a call, so there are no calls to score; its texts can be scored.",
                f"{name} 中没有以函数调用结尾的样本，无法评估函数调用；可以评估文本回答。",
            )
        )
    return EvaluationSet(name, examples, cases, complete)


def run_evaluation(
    service: Service, plan: EvaluationPlan, evaluation_set: EvaluationSet, on_step: Callable[[], None] = lambda: None
) -> Report:
    """Evaluates the models one after the other, with each detail of definitions. An error that `on_step` raises ends
    the evaluation.
    """
    evaluator = _Evaluator(service, plan, evaluation_set, on_step)
    runs = [evaluator.run(model, definitions) for model in plan.models for definitions in plan.modes]
    return build_report(
        "functions" if plan.functions else "text",
        evaluation_set.file,
        len(evaluation_set.cases),
        runs,
        service.loss_history(plan.models[0]),
    )


@dataclass(frozen=True)
class _Evaluator:
    service: Service
    plan: EvaluationPlan
    evaluation_set: EvaluationSet
    on_step: Callable[[], None]

    def run(self, model: str, definitions: DefinitionDetail) -> ModelRun:
        """Evaluates one model with one detail of definitions."""
        run, complete = self._answer_metrics(model, definitions), self.evaluation_set.complete
        try:
            losses = self._losses(model, definitions)
        except LossesNotAvailableError:
            for _ in self.evaluation_set.cases:
                self.on_step()
            reason = say(
                f"not available from the service of {model}: it computes no log-probabilities of supplied texts",
                f"{model} 所在的服务不提供：它不计算指定文本的对数概率",
            )
            return replace(run, not_available=dict.fromkeys(loss_metric_names(complete=complete), reason))
        metrics, scores = loss_metrics(losses, complete=complete)
        return replace(
            run,
            metrics={**run.metrics, **metrics},
            scores={**run.scores, **scores},
            loss_tokens=[loss.tokens for loss in losses],
        )

    def _answer_metrics(self, model: str, definitions: DefinitionDetail) -> ModelRun:
        cases = self.evaluation_set.cases
        answers = sample_answers(
            self.service.complete,
            model,
            cases,
            definitions,
            max_tokens=self.plan.max_tokens,
            concurrency=self.plan.concurrency,
            on_answer=self.on_step,
        )
        if self.plan.functions:
            return summarize_tool_calls(model, definitions, cases, answers, merge_definitions(cases))
        return summarize_texts(model, cases, answers)

    def _losses(self, model: str, definitions: DefinitionDetail) -> list[ExampleLoss]:
        pairs = zip(self.evaluation_set.examples, self.evaluation_set.cases, strict=True)
        examples = [_loss_example(example, case, definitions) for example, case in pairs]
        losses: list[ExampleLoss] = []
        for start in range(0, len(examples), _LOSSES_PER_REQUEST):
            batch = examples[start : start + _LOSSES_PER_REQUEST]
            losses += self.service.losses(model, batch)
            for _ in batch:
                self.on_step()
        return losses


def _loss_example(example: Example, case: Case, definitions: DefinitionDetail) -> dict[str, Any]:
    """The example in the form that training renders; `acceptable`, which is only for scoring, is left out."""
    rendered = apply_detail(replace(example, tools=case.tools), definitions)
    messages = [{key: value for key, value in message.items() if key != "acceptable"} for message in rendered.messages]
    return {"messages": messages, "tools": rendered.tools} if rendered.tools else {"messages": messages}
