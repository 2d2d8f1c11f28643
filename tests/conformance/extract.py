"""Makes `openai-openapi.json` from OpenAI's published OpenAPI file: `python tests/conformance/extract.py FILE.yaml`.

Kept are the paths of the resources that this project serves and what they refer to, without prose and examples.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

EXTRACT = Path(__file__).with_name("openai-openapi.json")
_RESOURCES = [
    "files",
    "uploads",
    "fine_tuning",
    "models",
    "chat",
    "responses",
    "conversations",
    "completions",
    "embeddings",
    "batches",
    "evals",
    "moderations",
]
_PROSE = ("description", "example", "examples", "title", "summary", "tags", "externalDocs", "security")


def extract(raw: bytes) -> dict[str, Any]:
    whole = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe, both of them
    schemas = whole["components"]["schemas"]
    paths = {
        path: _bare(of) for path, of in whole["paths"].items() if path.split("/")[1] in _RESOURCES and "?" not in path
    }
    names, new = set(), set(_referred(paths))
    while new:
        names |= new
        new = {inner for name in new for inner in _referred(schemas[name])} - names
    source = {
        "source": "openapi.yaml of the repository openai/openai-openapi on GitHub, 2026-08-21, MIT licence",
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    return source | {"paths": paths, "schemas": {name: _bare(schemas[name]) for name in sorted(names)}}


def _bare(part: Any, *, names: bool = False) -> Any:
    """Without prose. The keys of `properties` are names, however they read."""
    if isinstance(part, list):
        return [_bare(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    bare = {key: value for key, value in part.items() if names or not (key in _PROSE or key.startswith("x-"))}
    return {key: _bare(value, names=key == "properties") for key, value in bare.items()}


def _referred(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and "/schemas/" in reference:
            yield reference.split("/")[-1]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _referred(inner)


def _lines(result: dict[str, Any]) -> str:
    """JSON with a line for each path and schema, so that a change of one is a change of a line."""
    parts = []
    for key, value in result.items():
        if isinstance(value, dict):
            inside = ",\n".join(f"{json.dumps(name)}: {json.dumps(of, default=str)}" for name, of in value.items())
            parts.append(f"{json.dumps(key)}: {{\n{inside}\n}}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    EXTRACT.write_text(_lines(extract(Path(sys.argv[1]).read_bytes())), encoding="utf-8")
