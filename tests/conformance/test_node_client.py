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


def _check(seen: dict) -> None:
    job = seen["job"]
    assert (seen["file"]["status"], seen["created"]) == ("processed", "validating_files")
    assert (job["status"], job["error"], job["user_provided_suffix"]) == ("succeeded", None, "node")
    assert seen["events"][0] == f"Created fine-tuning job: {job['id']}"
    assert seen["events"][-1] == "The job has successfully completed"
    assert [checkpoint["step_number"] for checkpoint in seen["checkpoints"]] == [3, 6]
    assert seen["of_last"]["model"] == job["fine_tuned_model"]
    assert seen["of_checkpoint"]["model"].endswith(":ckpt-step-3")
    said = seen["whole"]["choices"][0]["message"]["content"]
    assert said == seen["of_last"]["choices"][0]["message"]["content"]
    assert said == "".join(seen["pieces"]) == seen["helper"]
    assert [deleted["deleted"] for deleted in seen["deleted"]] == [True, True]
    assert seen["after"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
