"""Would a right answer be forbidden? Copied arguments, learnt from one file and compared with the calls of another.

    python benchmarks/copies.py TRAIN.jsonl HELD_OUT.jsonl [--examples 200] [--unseen]

Without a model. Learnt are the first `--examples` lines of TRAIN; `--unseen` leaves out the held-out questions that are
learnt. Prints how many held-out values are in copied arguments, how many of these are in arguments whose values have
known ends, and everything that the grammar of a served model would not take: values, and calls that violate the
functions as the calls of TRAIN show them (a served model is held to these where its file defines none).
"""

import argparse
import json
from pathlib import Path
from typing import Any

from luthier.data.examples.call_survey import CallSurvey, CopySource, arguments_of
from luthier.data.examples.example import calls_in
from luthier.data.examples.tool_definitions import FunctionSchemas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--examples", type=int, help="lines that are learnt; all by default")
    parser.add_argument("--unseen", action="store_true", help="leave out questions that are learnt")
    options = parser.parse_args()
    train = _conversations(options.train)[: options.examples]
    train_questions = [messages[:-1] for messages in train]
    test = _conversations(options.held_out)
    if options.unseen:
        test = [messages for messages in test if messages[:-1] not in train_questions]
    survey = CallSurvey()
    for messages in train:
        survey.add(messages)
    copied_arguments, functions = survey.copied(), FunctionSchemas(survey.definitions(()))
    values = in_copied = with_ends = 0
    forbidden: list[tuple[Any, ...]] = []
    for messages in test:
        source = CopySource(messages[:-1])
        for _, function in calls_in(messages[-1]):
            if faults := functions.faults(function["name"], arguments_of(function)):
                forbidden.append((function["name"], *faults))
            arguments = copied_arguments.get(function["name"], {})
            for name, value in (arguments_of(function) or {}).items():
                values += 1
                if name in arguments:
                    in_copied += 1
                    with_ends += arguments[name] is not None
                    if not _is_allowed(value, source, arguments[name]):
                        forbidden.append((function["name"], name, value))
    counts = f"{values} values, {in_copied} in copied arguments, {with_ends} with known ends"
    print(f"{len(train)} examples; {len(test)} held out: {counts}, {len(forbidden)} forbidden", *forbidden, sep="\n")


def _conversations(path: Path) -> list[list[dict[str, Any]]]:
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def _is_allowed(value: Any, source: CopySource, ends: list[str] | None) -> bool:
    if not isinstance(value, str):
        return source.states(value)
    value_ends = source.ends(value)
    return bool(value_ends) and (ends is None or not value_ends.isdisjoint(ends))


if __name__ == "__main__":
    main()
