"""`make test-cluster`: prints the outcome; exit code 1 if anything is lost or doubled. Needs root and iproute2.

Run it in the environment that the target makes, which has Ray: `python -m cluster`, from the folder of the tests.
"""

import argparse
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from cluster.network import enter_own_network
from postgres_server import PostgresServer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10, help="of each project")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder for data, ledgers and logs")
    options = parser.parse_args()
    missing = list(_missing())
    if missing:
        print("make test-cluster cannot run here:", *missing, sep="\n  ", file=sys.stderr)
        return 2
    enter_own_network()
    from cluster.run import Plan, run
    from tiny import make_tiny_base

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "run"
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run(Plan(options.jobs), folder, make_tiny_base(Path(scratch) / "base"))
    print(outcome.report())
    return 0 if outcome.holds else 1


def _missing():
    if os.geteuid() != 0:
        yield "it makes network namespaces, which needs root"
    if not (which("ip") and which("unshare")):
        yield "ip and unshare are not installed (Debian: apt-get install iproute2 util-linux)"
    for module in ("ray", "nanio"):
        if find_spec(module) is None:
            yield f"{module} is not installed: run it by `make test-cluster`"
    try:
        PostgresServer()
    except (FileNotFoundError, KeyError) as error:
        yield str(error)


if __name__ == "__main__":
    sys.exit(main())
