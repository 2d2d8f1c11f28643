"""The jobs of a Luthier server that train successors of old models; the metadata of a job names the old model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.language import say
from luthier.migrate.folder import file_stem
from luthier.migrate.retraining import RetrainPlan
from luthier.types.errors import LuthierError
from luthier.types.job_options import SUCCESSOR_OF
from luthier.types.json_lines import json_line

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

_ENDED_WITHOUT_MODEL = ("failed", "cancelled")


@dataclass(frozen=True)
class Successors:
    """Finds and creates successors on one server."""

    client: openai.OpenAI

    def job_of(self, model: str) -> FineTuningJob | None:
        """The newest job for an old model that has not failed or been cancelled; None if there is none."""
        jobs = self.client.fine_tuning.jobs.list(metadata={SUCCESSOR_OF: model})
        return next((job for job in jobs if job.status not in _ENDED_WITHOUT_MODEL), None)

    def model_of(self, model: str) -> str | None:
        """The name of an old model's successor; None if none has been trained."""
        job = self.job_of(model)
        return job.fine_tuned_model if job and job.status == "succeeded" else None

    def create_job(self, plan: RetrainPlan) -> FineTuningJob:
        """Creates the job of a plan.

        Raises:
            LuthierError: The base model is not on this server.
            openai.OpenAIError: A request failed.
        """
        request: dict[str, Any] = {"model": self._start(plan), "metadata": {SUCCESSOR_OF: plan.model}}
        if plan.hyperparameters or plan.method != "supervised":
            request["method"] = {"type": plan.method, plan.method: {"hyperparameters": plan.hyperparameters}}
        request |= {name: value for name, value in (("suffix", plan.suffix), ("seed", plan.seed)) if value is not None}
        if plan.validation:
            request["validation_file"] = self._file(plan.validation, plan.file_ids.get("validation"))
        training = self._distilled(plan) if plan.training is None else None
        training = training or self._file(plan.training, plan.file_ids.get("training"))  # type: ignore[arg-type]
        job: FineTuningJob = self.client.fine_tuning.jobs.create(training_file=training, **request)
        return job

    def _start(self, plan: RetrainPlan) -> str:
        """The model that a job starts from: the base, or the successor of the model that the old job continued."""
        import openai

        name = self.model_of(plan.start) or plan.start
        try:
            self.client.models.retrieve(name)
        except openai.NotFoundError as error:
            raise LuthierError(
                say(
                    f"{plan.model} starts from {name}, which does not exist here. Choose a base with --base; `luthier "
                    "models list` lists the available ones.",
                    f"{plan.model} 的起点 {name} 不在这里。请用 --base 指定基座；"
                    "`luthier models list` 列出可用的模型。",
                )
            ) from error
        return name

    def _file(self, path: Path, file_id: str | None) -> str:
        """The id of the imported file if the server has it, else that of an upload of `path`."""
        import openai

        if file_id:
            try:
                if self.client.files.retrieve(file_id).bytes == path.stat().st_size:
                    return file_id
            except openai.NotFoundError:
                pass
        with path.open("rb") as content:
            return str(self.client.files.create(file=(path.name, content), purpose="fine-tune").id)

    def _distilled(self, plan: RetrainPlan) -> str:
        lines = "".join(json_line(example) + "\n" for example in plan.distilled)
        name = f"distilled-{file_stem(plan.model)}.jsonl"
        return str(self.client.files.create(file=(name, io.BytesIO(lines.encode())), purpose="fine-tune").id)
