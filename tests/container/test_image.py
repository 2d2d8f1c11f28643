"""deploy/Dockerfile, built by buildah and run as its own user: `make test-container`. Minutes, and 8 GB of disk.

`CONTAINER_BASE` names the base image, where registries can be reached, or a root file system as a .tar archive; without
it one is made of Debian's packages by mmdebstrap. pip's environment variables are passed on to the build, with the
folders they name.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tiny import make_tiny_base

pytestmark = pytest.mark.container
ROOT = Path(__file__).parents[2]
IMAGE, KEY = "localhost/luthier:test", "sk-of-the-container"
_BUILD_S, _START_S = 3600, 300
_PIP_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT")


class Buildah:
    """Runs buildah without a daemon or namespaces, with images and containers below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._program = ["buildah", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._program, *words],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BUILD_S,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-4000:]
        return done

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen([*self._program, *words], env=self._environment, stdout=output, stderr=output)


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    if shutil.which("buildah") is None:
        pytest.skip("there is no buildah: install it (Debian: apt-get install buildah mmdebstrap)")
    folder = tmp_path_factory.mktemp("buildah")
    folder.chmod(0o755)
    yield Buildah(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def base_image(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    named = os.environ.get("CONTAINER_BASE")
    if named and not named.endswith(".tar"):
        return named
    archive = Path(named) if named else _make_archive(tmp_path_factory.mktemp("base") / "base.tar")
    container, image = buildah("from", "scratch").stdout.strip(), "localhost/debian:bookworm-slim"
    buildah("add", container, str(archive), "/")
    buildah("commit", "--rm", container, image)
    return image


def _make_archive(archive: Path) -> Path:
    """A root file system of Debian's packages."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("no base image: set CONTAINER_BASE, or install mmdebstrap")
    command = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(archive)]
    subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_S)
    return archive


@pytest.fixture(scope="module")
def container(buildah: Buildah, base_image: str) -> str:
    """A container of the image that deploy/Dockerfile describes."""
    arguments = [f"BASE={base_image}"]
    arguments += [f"{name}={value}" for name, value in os.environ.items() if name in _PIP_ARGUMENTS]
    words = [word for argument in arguments for word in ("--build-arg", argument)]
    for folder in _local_folders():
        words += ["--volume", f"{folder}:{folder}:ro"]
    buildah("bud", "--network", "host", *words, "-f", "deploy/Dockerfile", "-t", IMAGE, ".")
    return buildah("from", IMAGE).stdout.strip()


def _local_folders() -> Iterator[str]:
    """Of this machine, that pip's variables name."""
    for name in _PIP_ARGUMENTS:
        for word in os.environ.get(name, "").replace("file://", "").split():
            if word.startswith("/") and Path(word).exists():
                yield word


def test_it_runs_as_a_user_without_rights(buildah: Buildah, container: str) -> None:
    assert buildah("run", container, "--", "id", "-u").stdout.strip() == "10001"
    assert buildah("run", container, "--", "touch", "/opt/luthier/x", check=False).returncode != 0
    assert "has_compiler" in buildah("run", container, "--", "sh", "-c", "command -v g++ && echo has_compiler").stdout


def test_it_refuses_to_start_without_a_key(buildah: Buildah, container: str) -> None:
    refused = buildah("run", container, "--", "luthier", "serve", check=False)
    assert refused.returncode != 0
    assert "no keys are set" in refused.stdout


def test_it_answers_a_chat(buildah: Buildah, container: str, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "tiny")
    for path in (base, *base.iterdir()):  # the user of the image reads it
        path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serve = ["env", f"LUTHIER_API_KEYS={KEY}", "luthier", "serve", "--port", str(port), "--base", "/models/tiny"]
    log = tmp_path / "log"
    server = buildah.start("run", "--volume", f"{base}:/models/tiny:ro", container, "--", *serve, log=log)
    try:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0, timeout=_START_S)
        assert _models(client, server, log)
        chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
        assert client.chat.completions.create(**chat).usage.completion_tokens > 0
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-wrong").models.list()
    finally:
        server.terminate()
        server.wait(60)
    assert '"level"' in log.read_text()  # JSON lines


def _models(client: openai.OpenAI, server: subprocess.Popen[bytes], log: Path) -> list[str]:
    """The models of the server, once it answers."""
    end = time.monotonic() + _START_S
    while True:
        try:
            return [model.id for model in client.models.list()]
        except openai.APIConnectionError:
            assert server.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.5)
