"""A bit that flips on the server's disk ends what reads it with a clear error, and nothing else."""

from pathlib import Path

import openai
import pytest
from click.testing import CliRunner
from openai import OpenAI

from luthier.cli import main
from luthier.runtime import LuthierServer
from through_api import create, finished, upload, wait


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_file_is_neither_handed_out_nor_trained_on(server: LuthierServer, client: OpenAI) -> None:
    file_id = upload(client)
    blob = server.data / "files" / file_id
    _flip(blob)
    with pytest.raises(openai.InternalServerError, match="does not match its checksum") as refused:
        client.files.content(file_id)
    assert refused.value.code == "corrupt_data"
    job = wait(client, create(client, file_id).id)
    assert job.status == "failed"
    assert job.error
    assert (job.error.code, job.error.param) == ("corrupt_data", "training_file")
    assert CliRunner().invoke(main, ["doctor", "--verify", "--data", str(server.data)]).exit_code == 1
    client.files.delete(file_id)


def test_a_damaged_model_is_neither_served_nor_trained_from(server: LuthierServer, client: OpenAI) -> None:
    adapter_files = set(server.data.glob("models/*/adapter_model.safetensors"))
    model = finished(client, create(client, upload(client)).id).fine_tuned_model
    question = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    assert client.chat.completions.create(**question).model == model
    for weights in set(server.data.glob("models/*/adapter_model.safetensors")) - adapter_files:
        _flip(weights)  # of the model and of its checkpoint
    with pytest.raises(openai.InternalServerError, match=r"adapter_model\.safetensors does not match"):
        client.chat.completions.create(**question)
    job = wait(client, create(client, upload(client), model=model).id)
    assert job.error
    assert (job.error.code, job.error.param) == ("corrupt_data", "model")
    client.models.delete(model)
