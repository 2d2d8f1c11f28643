"""`make test-wheel`: a wheel of this clone, installed into an empty environment, passes its own quickstart.

Environment, home, data and cache are new folders, and the program runs outside the clone: what a user gets who installs
Luthier. Packages and the base model come through pip, as it is configured.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MINIMUM_CORRECT = 5  # of 8 held-out examples; the base model answers none of them


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="luthier-wheel-") as temporary:
        folder = Path(temporary)
        shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # of an earlier wheel, with files since deleted
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run("built the wheel", [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
        (wheel,) = folder.glob("luthier-*.whl")
        environment = folder / "environment"
        _run("made an environment", [sys.executable, "-m", "venv", str(environment)])
        python = environment / "bin" / "python"
        install = [
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "-c",
            str(ROOT / "constraints.txt"),
        ]
        _run(f"installed {wheel.name}", [str(python), *install, str(wheel)])
        home = folder / "home"
        home.mkdir()
        output = _run(
            "ran luthier quickstart",
            [str(environment / "bin" / "luthier"), "quickstart", "--json"],
            cwd=home,
            env=_user_environment(home),
        )
    rows = json.loads(output)["compared"]
    correct = sum(row["tuned"] == row["right"] for row in rows)
    print(f"The fine-tuned model answers {correct} of {len(rows)} held-out examples exactly.")
    if correct < MINIMUM_CORRECT:
        sys.exit(f"at least {MINIMUM_CORRECT} were expected")


def _user_environment(home: Path) -> dict[str, str]:
    """The environment of a user with the empty home `home`: nothing of this clone and no settings of Luthier."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "PYTHON", "XDG_"))
    }
    return environment | {"HOME": str(home), "LUTHIER_LANG": "en"}


def _run(title: str, command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs `command` and returns its stdout; ends the program, with the output, if it fails."""
    start = time.monotonic()
    process = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{process.stdout[-4000:]}\nexit code {process.returncode}")
    print(f"{title}: {time.monotonic() - start:.0f} s", flush=True)
    return process.stdout


if __name__ == "__main__":
    main()
