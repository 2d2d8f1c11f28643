"""Third-party clients talk to the server. `make test-clients` runs these."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.acting_engine import (
    AS_JSON,
    BOTH,
    DIM,
    DIM_BOTH,
    DONE,
    FIRST,
    HELLO,
    LIGHT,
    MORE,
    SECOND,
    ActingEngine,
)
from conformance.fetch import OTHER_NODE_CLIENTS, client_environment, require
from conformance.other_clients import CLIENTS, RESPONSES_CLIENTS, Client, Skill
from server.serving import bare_server

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
# What a client heard, by the key that its script prints.
HEARD: dict[Skill, dict[str, Any]] = {
    "conversation": {"first": FIRST, "second": SECOND},
    "stream": {"streamed": FIRST},
    "tool call": {"called": LIGHT, "answer": DONE},
    "parallel calls": {"both": BOTH},
    "structured output": {"parsed": LIGHT},
}
# Instructor has objects only: its stream is of partial objects, and it runs no tool.
OBJECTS_ONLY: dict[Skill, dict[str, Any]] = {"stream": {"streamed_object": LIGHT}, "tool call": {"called": LIGHT}}


@pytest.fixture(scope="module")
def url(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bare_server(tmp_path_factory.mktemp("clients"), tiny_base, ActingEngine(tiny_base)) as running:
        yield f"{running.url}/v1"


@pytest.mark.parametrize(
    "client",
    [*CLIENTS, *RESPONSES_CLIENTS],
    ids=lambda client: f"{client.environment}-{client.script}-{client.api.split()[0]}",
)
def test_a_client_does_all_that_it_offers(client: Client, url: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LLM_USER_PATH": str(tmp_path),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it fetches prices when it starts
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "none-needed",
        "API": client.api,
        "DIM_BOTH": DIM_BOTH,
    }
    command = [*_command(client, tmp_path), "gpt-4o-mini", HELLO, MORE, DIM, AS_JSON]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    heard = json.loads(ran.stdout.splitlines()[-1])
    if "both" in heard:  # some clients run the two calls at once, and note them as they run
        heard["both"].sort(key=BOTH.index)
    expected = HEARD | (OBJECTS_ONLY if client.script == "use_instructor" else {})
    assert heard == {key: value for skill in client.skills for key, value in expected[skill].items()}


def _command(client: Client, tmp_path: Path) -> list[str]:
    if client.environment != "node":
        folder = client_environment(client.environment)
        require(folder)
        return [str(folder / "bin" / "python"), str(HERE / "clients" / f"{client.script}.py")]
    if not shutil.which("node"):
        pytest.skip("node is not installed here")
    require(OTHER_NODE_CLIENTS)
    script = shutil.copy(HERE / "node_clients" / f"{client.script}.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(OTHER_NODE_CLIENTS / "node_modules")
    return ["node", str(script)]
