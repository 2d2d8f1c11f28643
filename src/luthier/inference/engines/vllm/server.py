"""A vLLM server as a subprocess: on loopback, with a random API key and a log file.

vLLM may be installed in a separate environment, so it is started as a command and never imported.
"""

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from luthier.inference.options import EngineOptions
from luthier.types.errors import BaseModelError

_START_TIMEOUT_S = 900.0  # loading weights and compiling take minutes
_STOP_TIMEOUT_S = 20.0
_MAX_LORA_RANK = 64  # vLLM reserves memory for it


class VllmServer:
    """Ready when the constructor returns."""

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        command = shlex.split(options.vllm.command)
        if not command or shutil.which(command[0]) is None:
            raise BaseModelError(
                f"The engine vllm needs the program '{options.vllm.command}', which is not installed. Install vLLM "
                "(https://docs.vllm.ai), name its program in LUTHIER_VLLM_COMMAND, or set LUTHIER_VLLM_URL to a server "
                "that runs already."
            )
        self.key, port = secrets.token_urlsafe(24), _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = tempfile.NamedTemporaryFile("w+", prefix="luthier-vllm-", suffix=".log")  # noqa: SIM115
        self._child = subprocess.Popen(
            [*command, *_arguments(base, port, options)],
            env={**os.environ, "VLLM_API_KEY": self.key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group, so that its children end with it
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            code = self._child.poll()
            if code is not None:
                raise BaseModelError(f"vLLM ended with exit code {code} while starting. Its log ends: {self._tail()}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline:
                raise BaseModelError(
                    f"vLLM did not start within {_START_TIMEOUT_S:.0f} s. Its log ends: {self._tail()}"
                )
            time.sleep(0.1)

    def _tail(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace").strip()[-1500:]

    def close(self) -> None:
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._child.pid, signal_number)
                self._child.wait(_STOP_TIMEOUT_S)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._child.wait()
        self._log.close()


def _arguments(base: Path, port: int, options: EngineOptions) -> list[str]:
    """Arguments that the engine relies on; the setting's own come last and override them."""
    max_loras = str(options.max_loras)
    arguments = ["serve", str(base), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "base"]
    arguments += ["--enable-lora", "--max-loras", max_loras, "--max-cpu-loras", max_loras]
    arguments += ["--max-lora-rank", str(_MAX_LORA_RANK), "--generation-config", "vllm"]
    arguments += ["--structured-outputs-config.backend", "guidance", "--enable-prompt-tokens-details"]
    if options.precision != "auto":
        arguments += ["--dtype", options.precision]
    return arguments + shlex.split(options.vllm.arguments)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
