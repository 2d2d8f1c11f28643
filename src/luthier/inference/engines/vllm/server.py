"""vLLM started here as a child program: on loopback, with a key of its own, its log beside it.

vLLM may live in an environment of its own; it is a command to us, never an import.
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

from luthier.inference.pool import EngineOptions
from luthier.types.errors import BaseModelError

_START_S = 900.0  # reading weights and compiling take minutes
_STOP_S = 20.0
_HIGHEST_RANK = 64  # of adapters; memory is set aside for it


class VllmServer:
    """Answers when the constructor returns."""

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
            start_new_session=True,  # it has children of its own, which end with it
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        while True:
            code = self._child.poll()
            if code is not None:
                raise BaseModelError(f"vLLM ended with exit code {code} while starting. Its log ends: {self._tail()}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            if time.monotonic() > end:
                raise BaseModelError(f"vLLM did not start within {_START_S:.0f} s. Its log ends: {self._tail()}")
            time.sleep(0.1)

    def _tail(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace").strip()[-1500:]

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._child.pid, number)
                self._child.wait(_STOP_S)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._child.wait()
        self._log.close()


def _arguments(base: Path, port: int, options: EngineOptions) -> list[str]:
    """What the engine relies on; a person's own arguments come last and win."""
    adapters = str(options.adapters_in_memory)
    made = ["serve", str(base), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "base"]
    made += ["--enable-lora", "--max-loras", adapters, "--max-cpu-loras", adapters]
    made += ["--max-lora-rank", str(_HIGHEST_RANK), "--generation-config", "vllm"]
    made += ["--structured-outputs-config.backend", "guidance", "--enable-prompt-tokens-details"]
    if options.precision != "auto":
        made += ["--dtype", options.precision]
    return made + shlex.split(options.vllm.arguments)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
