"""`python -m crash`, from the folder of the tests: prints the outcome; exit code 1 if anything is lost or doubled."""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from crash import bad_disk, standstill
from crash.run import Plan, run
from postgres_server import PostgresServer
from tiny import make_tiny_base


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=260)
    parser.add_argument("--fresh", type=int, default=56, help="of the kills")
    parser.add_argument("--clients", type=int, default=2, help="beside the one that trains")
    parser.add_argument("--minutes", type=float, default=18, help="after which no kill follows")
    parser.add_argument("--uptime", type=float, default=4, help="most seconds until a kill; a busy machine needs more")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder for data, ledger and log")
    options = parser.parse_args()
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"  # where `su` does not lead: mkfs.ext4, runuser
    plan = Plan(
        seed=options.seed,
        kills=options.kills,
        fresh=options.fresh,
        clients=options.clients,
        max_uptime_s=options.uptime,
        minutes=options.minutes,
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(PostgresServer()) if options.store == "postgresql" else None
        folder = options.keep or scratch / "run"
        folder.mkdir(parents=True, exist_ok=True)
        base = make_tiny_base(scratch / "base")
        outcome = run(plan, folder, base, postgres)
        print(outcome.report(), flush=True)
        (scratch / "standstill").mkdir()
        findings = standstill.run(scratch / "standstill", base, postgres.new_database() if postgres else None)
        print(f"a worker stopped for a minute: lost {findings.lost}, duplicated {findings.duplicated}", flush=True)
        disk_holds = postgres is not None or _holds_on_a_bad_disk(scratch / "disk", base)
    return 0 if outcome.holds and disk_holds and not (findings.lost or findings.duplicated) else 1


def _holds_on_a_bad_disk(folder: Path, base: Path) -> bool:
    folder.mkdir()
    try:
        findings, tally = bad_disk.run(folder, base)
    except bad_disk.NoDiskError as error:
        print(f"a disk that fills up and becomes read-only: not tried, for want of a mount (root on Linux): {error}")
        return True
    print(
        f"a disk that fills up and becomes read-only: {findings.acknowledged.total()} acknowledged, {tally.refused} "
        f"requests refused, lost {findings.lost}, duplicated {findings.duplicated}, other 5xx {tally.faults}"
    )
    return not (findings.lost or findings.duplicated or tally.faults)


if __name__ == "__main__":
    sys.exit(main())
