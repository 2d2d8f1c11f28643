"""Where a fine-tuned model comes from: data with digests and checks, base, parents, settings, code, and exports."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from luthier.catalogue import Catalogue
from luthier.store import FineTunedModel, Job, Store
from luthier.training.job_spec import TRAIN, VALID
from luthier.types.errors import NotFoundError

# Of job.json, what decides how a model comes out; the rest are paths of this machine.
_SETTINGS = (
    *("tuning", "lora_rank", "lora_alpha", "lora_targets", "definitions", "result_turns", "validate_at"),
    *("device", "precision", "threads"),
)


def lineage(model: FineTunedModel, store: Store, catalogue: Catalogue) -> dict[str, Any]:
    """A JSON document. What is not known is null: earlier releases did not record it, or it was deleted."""
    job = store.jobs.get(model.job_id)
    spec = _job_spec(job, store)
    origin = catalogue.origin(model.base)
    return {
        "object": "model.lineage",
        "model": model.id,
        "created_at": model.created_at,
        "base": {
            "name": model.base,
            "hub_id": origin.hub_id,
            "revision": origin.revision or None,
            "licence": origin.licence or None,
            "rounded_to": origin.rounded_to or None,
        },
        "parents": list(_parents(job, store)),
        "job": {
            "id": job.id,
            "created_at": job.created_at,
            "finished_at": job.finished_at,
            "method": job.method_type,
            "seed": job.seed,
            "hyperparameters": dict(job.hyperparameters),
            "trained_tokens": job.trained_tokens,
            "metadata": job.metadata,
        },
        "data": list(_data(job, spec, store)),
        "settings": {name: spec[name] for name in _SETTINGS if name in spec} or None,
        "code_version": spec.get("code_version") or None,
        "metrics": _metrics(model, store),
        "exports": list(store.exports.list(model.id)),
    }


def recorded_conditions(job: Job, store: Store) -> dict[str, Any]:
    """What a job was run with that its API object does not say: settings, version of the code, digests of the data."""
    spec = _job_spec(job, store)
    return {name: spec[name] for name in (*_SETTINGS, "code_version", "data_sha256") if spec.get(name)}


def _parents(job: Job, store: Store) -> Iterator[str]:
    """The models that training continued from, the nearest first."""
    visited: set[str] = set()
    while job.parent and job.parent not in visited:
        yield job.parent
        visited.add(job.parent)
        parent = store.models.find(job.parent)
        if parent is None:
            return
        job = store.jobs.get(parent.job_id)


def _job_spec(job: Job, store: Store) -> dict[str, Any]:
    """job.json as it was written; empty for a job of another service, and for one whose folder is gone."""
    with suppress(OSError, ValueError):
        document = json.loads((store.job_folder(job.id) / "job.json").read_text(encoding="utf-8"))
        return document if isinstance(document, dict) else {}
    return {}


def _data(job: Job, spec: dict[str, Any], store: Store) -> Iterator[dict[str, Any]]:
    digests = spec.get("data_sha256") or {}
    files = (("training", TRAIN, job.training_file), ("validation", VALID, job.validation_file))
    for role, name, file_id in files:
        if not file_id:
            continue
        entry: dict[str, Any] = {"role": role, "file": file_id, "filename": None, "bytes": None, "findings": None}
        with suppress(NotFoundError):
            file = store.files.retrieve(file_id)
            entry |= {"filename": file.filename, "bytes": file.bytes}
            entry["findings"] = store.files.report(file_id).get("counts")
        yield entry | {"sha256": digests.get(name) or store.files.sha256(file_id)}


def _metrics(model: FineTunedModel, store: Store) -> dict[str, Any] | None:
    """Of the checkpoint that the model is."""
    for checkpoint in store.jobs.checkpoints(model.job_id, limit=100, after=None).data:
        if checkpoint.fine_tuned_model_checkpoint == model.id:
            return dict(checkpoint.metrics)
    return None
