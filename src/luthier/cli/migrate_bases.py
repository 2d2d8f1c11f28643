"""The plans of `luthier migrate retrain`, and the base model that it proposes for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from luthier.cli.errors import CliError
from luthier.cli.estimate import duration_text
from luthier.cli.local import local_catalogue, settings_of
from luthier.cli.migrate_text import plain, print_rows, print_wrapped
from luthier.cli.options import Options
from luthier.cli.output import format_bytes, print_json, stdout_console
from luthier.cli.throughput import known_speeds
from luthier.language import say

if TYPE_CHECKING:
    from luthier.migrate.base_choice import BaseFit
    from luthier.migrate.retraining import RetrainPlan

_MULTILINGUAL = "Qwen/Qwen3-0.6B"  # suggested where no base on this machine covers the script


@dataclass(frozen=True)
class Proposals:
    """The bases of this machine for each plan.

    Attributes:
        fits: Old model → how well each base fits its training file.
        best: Old model → the proposed base; absent if none fits.
        free_bytes: The free memory when the bases were assessed.
    """

    fits: dict[str, list[BaseFit]]
    best: dict[str, BaseFit]
    free_bytes: int

    @classmethod
    def of_plans(cls, options: Options, plans: Sequence[RetrainPlan]) -> Proposals:
        """The proposals for plans that start from a base; plans that continue another model use its base."""
        from luthier.hardware import available_memory
        from luthier.migrate.base_choice import assess, proposed
        from luthier.migrate.shutdown import is_fine_tuned

        catalogue = local_catalogue()
        folders = {name: catalogue.folder(name) for name in catalogue.names() if catalogue.ready(name)}
        starting = [plan for plan in plans if not plan.skipped and not is_fine_tuned(plan.start)]
        speeds = known_speeds(settings_of(options), catalogue.cache, folders) if starting else {}
        fits = {
            plan.model: [assess(name, folder, plan, speeds) for name, folder in folders.items()] for plan in starting
        }
        free = available_memory()
        best = {model: fit for model, entries in fits.items() if (fit := proposed(entries, free))}
        return cls(fits, best, free)

    def applied(self, plans: Sequence[RetrainPlan]) -> list[RetrainPlan]:
        """The plans with the proposed bases. Raises CliError if no base fits a plan."""
        for plan in plans:
            if plan.model in self.fits and plan.model not in self.best:
                raise CliError(
                    say(f"No base on this machine fits {plan.model}.", f"本机没有适合 {plan.model} 的基座。"),
                    say("--dry-run shows why; choose one with --base.", "--dry-run 会说明原因；请用 --base 指定。"),
                )
        return [replace(plan, start=self.best[plan.model].name) if plan.model in self.best else plan for plan in plans]

    def print_plans(self, options: Options, plans: Sequence[RetrainPlan]) -> None:
        if options.json:
            print_json({"plans": [plan.to_dict() | self._to_dict(plan) for plan in plans]})
            return
        for plan in plans:
            console = stdout_console()
            console.print(plain(plan.model, "bold"), soft_wrap=True)
            print_rows(console, [*_plan_rows(plan), *self._rows(plan)])
        print_wrapped(
            say(
                "`auto` is resolved for the base and the data when a job starts. `--base auto` trains each model on "
                "the proposed base.",
                "auto 在任务开始时按基座和数据选定。加 `--base auto` 会用建议的基座训练每个模型。",
            )
        )

    def _to_dict(self, plan: RetrainPlan) -> dict[str, Any]:
        best = self.best.get(plan.model)
        bases = [fit.to_dict(self.free_bytes) for fit in self.fits.get(plan.model, [])]
        return {"proposed_base": best.name if best else None, "bases": bases}

    def _rows(self, plan: RetrainPlan) -> Iterator[tuple[str, str]]:
        best, fits = self.best.get(plan.model), self.fits.get(plan.model, [])
        if best:
            yield say("proposed base", "建议的基座"), _fit_text(best)
        for fit in fits:
            if fit is not best:
                reasons = "; ".join(fit.objections(self.free_bytes)) or say("smaller", "更小")
                yield say("other base", "其他基座"), f"{_fit_text(fit)}; {reasons}"
        if plan.model in self.fits and not fits:
            yield "!", say("There is no base on this machine yet: luthier models pull",
                           "本机还没有基座模型：luthier models pull")  # fmt: skip
        elif fits and not best:
            yield (
                "!",
                say(
                    f"No base on this machine fits. A multilingual one: luthier models pull {_MULTILINGUAL}",
                    f"本机没有合适的基座。会多种语言的例如：luthier models pull {_MULTILINGUAL}",
                ),
            )


def _fit_text(fit: BaseFit) -> str:
    if fit.seconds is None or fit.speed is None:
        return fit.name
    time, memory = duration_text(fit.seconds), format_bytes(fit.speed.memory_bytes)
    source = "" if fit.measured else say(", scaled from another base", "，按其他基座折算")
    return say(f"{fit.name}: about {time}, {memory} of memory{source}", f"{fit.name}：约 {time}，内存 {memory}{source}")


def _plan_rows(plan: RetrainPlan) -> list[tuple[str, str]]:
    if plan.skipped:
        return [("!", say(f"not trained: {plan.skipped}", f"不训练：{plan.skipped}"))]
    source = str(plan.training) if plan.training else say("recorded answers (distillation)", "录制的回答（蒸馏）")
    return [
        (say("starts from", "起点"), plan.start),
        (say("method", "方法"), plan.method),
        (say("examples", "样本"), say(f"{plan.examples}, {source}", f"{plan.examples}，{source}")),
        (say("held out", "留出"), str(plan.validation) if plan.validation else "–"),
        (say("hyperparameters", "超参数"), _settings_text(plan.hyperparameters)),
        (say("recorded", "原先"), _settings_text(plan.recorded)),
        *(("!", text) for text in plan.notes),
    ]


def _settings_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "auto"
