"""OpenAI's Node client goes through the whole loop."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.fetch import NODE_CLIENT, require
from luthier.runtime import LuthierServer
from training.jobs import EXAMPLES


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed here")
def test_the_loop(server: LuthierServer, tmp_path: Path) -> None:
    require(NODE_CLIENT)
    script = shutil.copy(Path(__file__).parent / "node" / "loop.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_CLIENT / "node_modules")
    training_file = tmp_path / "train.jsonl"
    training_file.write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    environment = {
        "PATH": str(Path(shutil.which("node") or "").parent),
        "OPENAI_BASE_URL": server.endpoint.base_url,
        "OPENAI_API_KEY": server.endpoint.api_key,
    }
    command = ["node", script, training_file]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    _check(json.loads(ran.stdout))


def _check(observed: dict) -> None:
    job = observed["job"]
    assert (observed["file"]["status"], observed["created"]) == ("processed", "validating_files")
    assert (job["status"], job["error"], job["user_provided_suffix"]) == ("succeeded", None, "node")
    assert observed["events"][0] == f"Created fine-tuning job: {job['id']}"
    assert observed["events"][-1] == "The job has successfully completed"
    assert [checkpoint["step_number"] for checkpoint in observed["checkpoints"]] == [3, 6]
    assert observed["of_last"]["model"] == job["fine_tuned_model"]
    assert observed["of_checkpoint"]["model"].endswith(":ckpt-step-3")
    message = observed["whole"]["choices"][0]["message"]["content"]
    assert message == observed["of_last"]["choices"][0]["message"]["content"]
    assert message == "".join(observed["pieces"]) == observed["helper"]
    assert [deleted["deleted"] for deleted in observed["deleted"]] == [True, True]
    assert observed["after"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
