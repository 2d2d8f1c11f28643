"""Metadata of a training file that serving needs: the form of calls, the functions, and whether it has pairs or chats.

It is stored in a file of the adapter's folder, so that a model answers in the form of its data and knows its functions
when a request does not define them. Validation writes the same file to the job's folder, so that the training file need
not be parsed again for it.
"""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.data.examples.call_survey import CallSurvey, CopiedArguments, merge_inferred
from luthier.data.examples.example import WireForm, kind_of, to_example
from luthier.data.examples.tool_definitions import Tools, collect_definitions
from luthier.data.jsonl.reader import parse_line, read_lines

FILE = "taught.json"


@dataclass(frozen=True)
class AdapterMetadata:
    """The metadata of one training file.

    Attributes:
        call_form: Whether the file has tools or the older functions; None without either.
        pairs: Whether it has prompt/completion pairs; the prompts of completion requests are then rendered as theirs.
        definitions: Its function definitions, in today's form.
        reasoning: Whether any answer has `reasoning_content`.
        copied: The arguments that are copied from the conversation, by function; see `call_survey`.
        called: Definitions inferred for functions that the file calls but does not define; see `call_survey`.
    """

    call_form: WireForm | None = None
    pairs: bool = False
    definitions: Tools = field(default_factory=list)
    reasoning: bool = False
    copied: CopiedArguments = field(default_factory=dict)
    called: Tools = field(default_factory=list)

    @property
    def functions(self) -> Tools:
        """The functions that the file defines, then those that it only calls."""
        return [*self.definitions, *self.called]

    def write(self, folder: Path) -> None:
        """Writes the file and fsyncs it, because a model whose row survives a power cut needs it."""
        with (folder / FILE).open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())

    def with_defaults(self, parent: "AdapterMetadata") -> "AdapterMetadata":
        """A copy whose missing values come from `parent`, the model from which training continues."""
        return replace(
            self,
            call_form=self.call_form or parent.call_form,
            definitions=self.definitions or parent.definitions,
            copied=parent.copied | self.copied,
            called=merge_inferred(self.called, parent.called),
        )


def read(folder: Path) -> AdapterMetadata:
    """The metadata in an adapter's folder; the defaults for a folder without the file."""
    return read_survey(folder) or AdapterMetadata()


class Survey:
    """Collects the metadata of a training file, one example without structural errors at a time."""

    def __init__(self) -> None:
        self._call_form: WireForm | None = None
        self._pairs = self._reasoning = False
        self._calls = CallSurvey()
        self._tool_lists: Counter[str] = Counter()  # most files repeat one list of tools in every line

    def add(self, value: dict[str, Any], line: int = 0) -> None:
        """Adds a parsed line. Raises `FindingError`, with `line`, if it is not an example."""
        kind = kind_of(value)
        self._pairs = self._pairs or kind == "completion"
        example = to_example(value["input"] if kind == "preference" else value, line)
        self._call_form = self._call_form or example.call_form
        self._reasoning = self._reasoning or any(message.get("reasoning_content") for message in example.messages)
        self._calls.add(example.messages)
        if example.tools:
            self._tool_lists[json.dumps(example.tools, ensure_ascii=False)] += 1

    def metadata(self) -> AdapterMetadata:
        """The metadata so far."""
        definitions = collect_definitions(json.loads(text) for text, _ in self._tool_lists.most_common())
        inferred = self._calls.definitions({tool["function"]["name"] for tool in definitions})
        copied_arguments = self._calls.copied()
        return AdapterMetadata(self._call_form, self._pairs, definitions, self._reasoning, copied_arguments, inferred)


def survey(path: Path, parent: AdapterMetadata | None = None) -> AdapterMetadata:
    """The metadata of a checked training file, with defaults from `parent`. Raises as `read_examples`."""
    reader = Survey()
    for line in read_lines(path):
        reader.add(parse_line(line), line.number)
    return reader.metadata().with_defaults(parent or AdapterMetadata())


def read_survey(folder: Path) -> AdapterMetadata | None:
    """The metadata that validation wrote to a job's folder; None in a folder without it, as of earlier versions."""
    try:
        return AdapterMetadata(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
