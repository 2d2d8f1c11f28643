"""Where a model comes from, as `luthier models show --lineage` prints it."""

import hashlib
import json

from click.testing import CliRunner

from export.installation import MODEL, Installation
from luthier.cli import main
from luthier.export.importing import import_adapter
from luthier.lineage import lineage
from luthier.training.job_spec import JobSpec


def test_lineage_of_a_model(installation: Installation) -> None:
    """Data with digests, also of a file that was deleted since; settings and code as the job recorded them."""
    store, job = installation.store, installation.source.job
    digest = hashlib.sha256(b"{}\n").hexdigest()
    ran = CliRunner().invoke(
        main, ["models", "show", MODEL, "--lineage", "--json", "--data", str(installation.settings.data)]
    )
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert document["job"]["id"] == job.id
    assert document["data"][0]["sha256"] == digest
    assert document["data"][0]["filename"] == "train.jsonl"
    assert document["metrics"]["train_loss"] > 0
    assert document["code_version"] is None  # no job.json was written
    JobSpec("/base", "tiny", 1, code_version="0.2", data_sha256={"train.jsonl": "ab"}).write(store.job_folder(job.id))
    recorded = lineage(installation.source.model, store, installation.catalogue)
    assert recorded["code_version"] == "0.2"
    assert recorded["data"][0]["sha256"] == "ab"
    assert recorded["settings"]["lora_rank"] == 16


def test_lineage_of_an_imported_model(installation: Installation) -> None:
    """What happened elsewhere is not known here."""
    source = installation.source
    name = import_adapter(source.folder, str(source.base), installation.store, installation.catalogue, "me", None)
    document = lineage(installation.store.models.find(name), installation.store, installation.catalogue)
    assert document["data"] == []
    assert document["job"]["metadata"] == {"luthier:imported_from": source.folder.name}
    installation.store.models.delete(name)
