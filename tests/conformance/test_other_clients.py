"""Clients of other makers hold a conversation with a fine-tuned model. `make test-clients` runs these."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from openai import OpenAI

from conformance.fetch import OTHER_CLIENTS, require
from luthier.runtime import LuthierServer
from through_api import create, finished, upload

pytestmark = pytest.mark.clients
ASKED = {"temperature": 0, "max_tokens": 8}


@pytest.fixture(scope="module")
def tuned(client: OpenAI) -> str:
    return finished(client, create(client, upload(client)).id).fine_tuned_model


@pytest.mark.parametrize("name", OTHER_CLIENTS)
def test_a_conversation(name: str, tuned: str, client: OpenAI, server: LuthierServer, tmp_path: Path) -> None:
    """What it hears, whole and streamed, is what OpenAI's own client hears."""
    require(OTHER_CLIENTS[name])
    python, script = OTHER_CLIENTS[name] / "bin" / "python", Path(__file__).parent / "clients" / f"{name}.py"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LLM_USER_PATH": str(tmp_path),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it fetches prices when it starts
        "OPENAI_BASE_URL": server.endpoint.base_url,
        "OPENAI_API_KEY": server.endpoint.api_key,
    }
    command = [python, script, tuned]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    history = [{"role": "user", "content": "number 3"}]
    first = client.chat.completions.create(model=tuned, messages=history, **ASKED).choices[0].message.content
    history += [{"role": "assistant", "content": first}, {"role": "user", "content": "number 4"}]
    second = client.chat.completions.create(model=tuned, messages=history, **ASKED)
    assert said.pop("tokens", 8) == second.usage.completion_tokens
    expected = {"first": first, "second": second.choices[0].message.content}
    assert first
    assert said == expected | {"streamed": expected["second"]}
