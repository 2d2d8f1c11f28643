"""What the conformance tests take from package registries, fetched once into the cache by `make test`.

`python tests/conformance/fetch.py` does it, and can be repeated: what is there already is left alone; with
`--other-clients` also what `make test-clients` needs. Nothing here is installed into the environment that Luthier runs
in: each client has a virtual environment of its own.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from luthier.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

from conformance.other_clients import CLIENTS

COMMAND = "python tests/conformance/fetch.py"
_HERE = Path(__file__).parent
_ROOT = Settings().cache / "conformance"
_STAMP = "made-from.txt"  # written last into each folder


@dataclass(frozen=True)
class Suite:
    """A release of OpenAI's Python client; its own tests come with the source distribution alone."""

    version: str
    sha256: str

    @property
    def requirements(self) -> Path:
        return _HERE / "requirements" / f"openai-{self.version}.txt"

    @property
    def source(self) -> Path:
        return _ROOT / f"openai-{self.version}" / "source"

    @property
    def venv(self) -> Path:
        return _ROOT / f"openai-{self.version}" / "venv"


SUITES = [
    Suite("3.57.0", "5a0a89d6a542efc85e2a8cec701ca9265b795d578c777828e10fafdf80e333b6"),
    Suite("1.109.1", "d173ed8dbca665892a6db099b4a2dfac624f94d20a93f46eb0b56aae940ed869"),
]


NODE_CLIENT, OTHER_NODE_CLIENTS = _ROOT / "openai-node", _ROOT / "other-node-clients"
BFCL = _ROOT / "bfcl"

# Chat templates of many makers, as TRL carries them.
TEMPLATES = _ROOT / "chat-templates"
_TRL, _TRL_SHA256 = "trl==1.16.0", "c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396"


def client_environment(name: str) -> Path:
    """The virtual environment of `requirements/NAME.txt`; a release of OpenAI's client has that of its suite."""
    return next((suite.venv for suite in SUITES if suite.requirements.stem == name), _ROOT / name)


def require(folder: Path) -> None:
    """The tests themselves never fetch anything."""
    if not (folder / _STAMP).exists():
        raise FileNotFoundError(f"{folder} is not there. `make test` fetches it, and so does `{COMMAND}`.")


def fetch_suite(suite: Suite) -> None:
    once(suite.source, suite.sha256, lambda: _unpack(suite))
    environment(suite.venv, suite.requirements)


def fetch_node_packages(target: Path, source: str) -> None:
    """Those of the folder `source`, by npm's own lock file, which holds checksums; no script of a package is run."""
    if shutil.which("npm") is None:
        print(f"npm is not installed here: {target.name} is not fetched, and its tests are skipped.")
        return
    lists = [_HERE / source / name for name in ("package.json", "package-lock.json")]

    def make() -> None:
        for each in lists:
            shutil.copy(each, target)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(npm, cwd=target, check=False).returncode:
            raise SystemExit(f"Could not get the packages of {source}; npm says why above.")

    once(target, lists[1].read_text(encoding="utf-8"), make)


def fetch_other_clients() -> None:
    for name in ["bfcl", *sorted({client.environment for client in CLIENTS} - {"node"})]:
        if client_environment(name).parent == _ROOT:
            environment(client_environment(name), _HERE / "requirements" / f"{name}.txt")
    fetch_node_packages(OTHER_NODE_CLIENTS, "node_clients")


def fetch_templates() -> None:
    def make() -> None:
        _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", TEMPLATES, _TRL, what=f"the wheel of {_TRL}")
        wheel = next(TEMPLATES.glob("*.whl"))
        _check_sha256(wheel, _TRL_SHA256)
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                if name.startswith("trl/chat_templates/") and name.endswith(".jinja"):
                    (TEMPLATES / Path(name).name).write_bytes(packed.read(name))
        wheel.unlink()

    once(TEMPLATES, _TRL_SHA256, make)


def environment(folder: Path, requirements: Path) -> None:
    """A virtual environment with exactly what the file lists."""

    def make() -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        pip = ("--python", folder / "bin" / "python", "install", "--no-deps", "-r", requirements)
        _pip(*pip, what=f"the packages of {requirements.name}")

    once(folder, requirements.read_text(encoding="utf-8"), make)


def once(folder: Path, made_from: str, make: Callable[[], object]) -> None:
    """`folder`, made anew when it is not there whole, or was made from something else."""
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_from:
        return
    print(f"Fetching into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make()
    stamp.write_text(made_from, encoding="utf-8")


def _unpack(suite: Suite) -> None:
    name, folder = f"openai-{suite.version}", suite.source
    body = ("download", "--no-deps", "--no-binary", "openai", "--dest", folder, f"openai=={suite.version}")
    _pip(*body, what=f"the source distribution of openai {suite.version}")
    archive = folder / f"{name}.tar.gz"
    _check_sha256(archive, suite.sha256)
    safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and newer
    with tarfile.open(archive) as packed:
        packed.extractall(folder, **safe)  # noqa: S202 - the pinned file
    for inside in (folder / name).iterdir():
        inside.rename(folder / inside.name)


def _check_sha256(file: Path, expected: str) -> None:
    actual = hashlib.sha256(file.read_bytes()).hexdigest()
    if actual != expected:
        raise SystemExit(f"{file.name} is not the file that was pinned: sha256 {actual}, expected {expected}.")


def _pip(*arguments: object, what: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    if subprocess.run(pip, check=False).returncode:
        raise SystemExit(
            f"Could not get {what}; pip says why above. The tests need a package index that pip can reach."
        )


if __name__ == "__main__":
    _ROOT.mkdir(parents=True, exist_ok=True)
    with FileLock(_ROOT / "fetch.lock"):
        for each in SUITES:
            fetch_suite(each)
        fetch_node_packages(NODE_CLIENT, "node")
        fetch_templates()
        if "--other-clients" in sys.argv:
            fetch_other_clients()
