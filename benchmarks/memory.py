"""Resident memory of `luthier serve`, its worker included: when it has started, and after its first answer.

    python benchmarks/memory.py [--weights int8 full]

`--weights`: as LUTHIER_SERVING_WEIGHTS names them, a server for each. Linux only.
"""

import argparse
import tempfile
from pathlib import Path

from local_server import MODEL, resident_mb, serve_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", choices=["auto", "full", "int8"], default=["int8", "full"])
    for weights in parser.parse_args().weights:
        with (
            tempfile.TemporaryDirectory() as data,
            serve_process(Path(data), {"LUTHIER_SERVING_WEIGHTS": weights}) as (client, pid),
        ):
            started = resident_mb(pid)
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=20)
            answered = resident_mb(pid)
        print(f"{weights:5} {started:.0f} MB at the start, {answered:.0f} MB after the first answer", flush=True)


if __name__ == "__main__":
    main()
