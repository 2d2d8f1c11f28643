"""A tiny fine-tuned model in a data folder, trained in the test's process: what exports start from."""

from dataclasses import dataclass
from pathlib import Path

from luthier.catalogue import Catalogue
from luthier.export.run import ExportResult, export_model
from luthier.export.source import ExportSource, find_source
from luthier.export.targets import parse_target
from luthier.settings import Settings
from luthier.store import Store
from training.jobs import train, write_job

BASE_ID = "org/tiny"
MODEL = "ft:tiny:me::abc12345"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "light",
            "description": "Switches <one> lamp",
            "parameters": {"type": "object", "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}}},
        },
    }
]


def call_example(index: int) -> dict[str, object]:
    call = {"name": "light", "arguments": f'{{"room": "r{index}", "on": true}}'}
    return {
        "messages": [
            {"role": "user", "content": f"room {index}"},
            {"role": "assistant", "tool_calls": [{"id": f"c{index}", "type": "function", "function": call}]},
        ],
        "tools": TOOLS,
    }


@dataclass(frozen=True)
class Installation:
    """A data folder with one fine-tuned model."""

    settings: Settings
    store: Store

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.settings.cache, self.store.models_folder)

    @property
    def source(self) -> ExportSource:
        return find_source(MODEL, self.store, self.catalogue, self.settings)

    def export(self, target: str, out: Path, base_id: str | None = BASE_ID) -> ExportResult:
        return export_model(
            MODEL, parse_target(target), out, self.settings, self.store, self.catalogue, base_id=base_id
        )


def install(folder: Path, base: Path, examples: list[dict[str, object]], **spec: object) -> Installation:
    settings = Settings(data=folder / "data", cache=folder / "cache", base=str(base), precision="float32")
    store = Store(settings.data)
    file = store.files.create("train.jsonl", "fine-tune", lambda out: out.write(b"{}\n") and None)
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 8, "batch_size": 4}}}
    created = store.jobs.create(
        model="gpt-4o-mini-2024-07-18", base=str(base), training_file=file.id, seed=1, method=method, integrations=[]
    )
    trained = write_job(folder / "job", base, examples, valid=4, n_epochs=5, learning_rate_multiplier=8, **spec)
    events = train(trained)
    checkpoint = next(event for event in reversed(events) if event["type"] == "checkpoint")
    store.models.add_checkpoint(
        store.jobs.get(created.id),
        name=MODEL,
        step=checkpoint["step"],
        metrics=checkpoint["metrics"],
        source=trained / "checkpoints" / checkpoint["folder"],
        call_form=None,
        event=None,
        keep=3,
    )
    return Installation(settings, store)
