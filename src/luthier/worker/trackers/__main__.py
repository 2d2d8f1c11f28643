"""`python -m luthier.worker.trackers`: one run of one tracker, fed by lines of JSON on standard input.

The first line is {"tracker": NAME, "run": fields of TrackedRun}; each further one {"step": N, "metrics": {...}}. The
end of the input finishes the run, so it is finished too if the worker dies. Prints the place of the run once it is
open.
"""

import json
import os
import sys

from luthier.worker.trackers.tracker import TrackedRun, open_tracker


def main() -> None:
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of a tracker goes to the log
    request = json.loads(sys.stdin.readline())
    tracker = open_tracker(request["tracker"], TrackedRun(**request["run"]))
    print(tracker.place, file=output, flush=True)
    for line in sys.stdin:
        point = json.loads(line)
        tracker.log(point["step"], point["metrics"])
    tracker.finish()


if __name__ == "__main__":
    main()
