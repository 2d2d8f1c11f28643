"""The Berkeley Function-Calling Leaderboard's own program asks the server. `make test-clients` runs it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from conformance.fetch import BFCL, require
from through_api import running_server

pytestmark = pytest.mark.clients
ASKED = {name: [f"{name}_{index}" for index in range(3)] for name in ("simple_python", "multiple", "irrelevance")}


@pytest.mark.parametrize("entry", ["luthier-FC", "gpt-4o-mini-2024-07-18-FC"], ids=["chat", "responses"])
def test_the_leaderboard_runs_to_its_end(entry: str, real_base: Path, tmp_path: Path) -> None:
    """By chat completions, and by the leaderboard's own entry of a model of OpenAI's, which uses the Responses API.

    What the base makes of it is another matter: no question may end with an error.
    """
    require(BFCL)
    (tmp_path / "test_case_ids_to_generate.json").write_text(json.dumps(ASKED))
    with running_server(tmp_path / "data", real_base, default_max_tokens=64) as running:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BFCL_PROJECT_ROOT": str(tmp_path),
            "OPENAI_BASE_URL": running.endpoint.base_url,
            "OPENAI_API_KEY": running.endpoint.api_key,
            "BFCL_MODEL": "gpt-4o-mini",
        }

        def bfcl(*arguments: str) -> None:
            command = [BFCL / "bin" / "python", Path(__file__).parent / "clients" / "bfcl.py", *arguments]
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
            assert ran.returncode == 0, ran.stderr

        bfcl("generate", "--model", entry, "--run-ids", "--num-threads", "2")
        bfcl("evaluate", "--model", entry, "--test-category", ",".join(ASKED), "--partial-eval")
    lines = [line for path in tmp_path.glob("result/**/*.json") for line in path.read_text().splitlines()]
    answers = [json.loads(line) for line in lines]
    assert sorted(answer["id"] for answer in answers) == sorted(name for names in ASKED.values() for name in names)
    assert not [answer for answer in answers if "Error during inference" in str(answer["result"])]
    assert len(list(tmp_path.glob("score/**/BFCL_*_score.json"))) == len(ASKED)
