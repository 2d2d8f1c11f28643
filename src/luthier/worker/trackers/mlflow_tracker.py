"""MLflow: a tracking server, or a database file on this machine (`mlflow ui --backend-store-uri URI`)."""

from collections.abc import Mapping
from typing import Any

from luthier.worker.trackers.tracker import TrackedRun

_JOB = "luthier.job"  # the tag by which the run of a resumed job is found


class MlflowRun:
    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient

        self.place = run.mlflow_uri or f"sqlite:///{run.local_folder('mlflow')}/mlflow.db"
        self._client: Any = MlflowClient(tracking_uri=self.place)
        experiment = self._client.get_experiment_by_name(run.project)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
        earlier = self._client.search_runs([experiment_id], f"tags.`{_JOB}` = '{run.id}'", max_results=1)
        if earlier:
            self._id = earlier[0].info.run_id
            return
        tags = {_JOB: run.id, **dict.fromkeys(run.tags, "true")}
        self._id = self._client.create_run(experiment_id, run_name=run.title, tags=tags).info.run_id
        for name, value in run.config.items():
            self._client.log_param(self._id, name, value)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._id, name, value, step=step)

    def finish(self) -> None:
        self._client.set_terminated(self._id)


def open_run(run: TrackedRun) -> MlflowRun:
    return MlflowRun(run)
