"""llama.cpp from the package xllamacpp. It runs in a child process, since it may abort on a file it cannot load."""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.rendering.parity_samples import ParitySample
from luthier.export.runtimes.scores import Scores
from luthier.language import say
from luthier.types.errors import ExportError

PACKAGE = "xllamacpp"
_TIMEOUT_S = 3600.0
_LOG_CHARACTERS = 500


@dataclass(frozen=True)
class LlamaCppAnswers:
    """What llama.cpp computed with one GGUF file.

    Attributes:
        scores: One entry per parity sample.
        tokens: The token ids of each text.
        prompts: Each conversation as a prompt, rendered with the template in the file.
    """

    scores: list[Scores]
    tokens: list[list[int]]
    prompts: list[str]


def version() -> str | None:
    """The version of xllamacpp; None if it is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def ask(
    model: Path,
    samples: Sequence[ParitySample],
    *,
    lora: Path | None = None,
    texts: Sequence[str] = (),
    conversations: Sequence[dict[str, Any]] = (),
) -> LlamaCppAnswers:
    """Scores the samples with the file `model`, tokenizes the texts, and renders the conversations.

    Args:
        lora: A GGUF adapter to load on top of the model.
        conversations: Bodies of chat requests.

    Raises:
        ExportError: llama.cpp cannot load or run the file, or does not finish in time.
    """
    request = {
        "model": str(model),
        "lora": str(lora) if lora else None,
        "samples": [{"ids": sample.ids, "positions": sample.positions} for sample in samples],
        "texts": list(texts),
        "conversations": list(conversations),
    }
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.json"
        command = [sys.executable, "-P", "-m", "luthier.export.runtimes.llama_cpp_program", str(answers)]
        try:
            process = subprocess.run(
                command, input=json.dumps(request).encode(), capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            minutes = f"{_TIMEOUT_S / 60:.0f}"
            raise ExportError(
                say(f"llama.cpp had not answered after {minutes} minutes.", f"llama.cpp 在 {minutes} 分钟内没有完成。")
            ) from error
        if process.returncode or not answers.exists():
            log = process.stderr.decode(errors="replace").strip()[-_LOG_CHARACTERS:]
            raise ExportError(
                say(f"llama.cpp cannot run {model.name}: {log}", f"llama.cpp 无法运行 {model.name}：{log}")
            )
        document = json.loads(answers.read_text(encoding="utf-8"))
    scores = [Scores(np.array(scored["logprobs"]), np.array(scored["is_top"])) for scored in document["scores"]]
    return LlamaCppAnswers(scores, document["tokens"], document["prompts"])
