"""The data room is a pipeline: each stage imports earlier ones only."""

import ast
from pathlib import Path

import pytest

from luthier import data

ROOT = Path(data.__file__).parent
STAGES = [
    {"findings"},
    {"jsonl"},
    {"examples"},
    {"check", "convert", "openai_tokens", "rendering"},
    {"file_renderer", "repair", "split", "token_stats"},
]
NUMBER = {stage: number for number, stages in enumerate(STAGES) for stage in stages}


def stages_imported_by(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {module.split(".")[2] for module in modules if module.startswith("luthier.data.")}


@pytest.mark.source
@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_to_earlier_stages(path: Path) -> None:
    stage = path.relative_to(ROOT).parts[0].removesuffix(".py")
    imported = stages_imported_by(path) - {stage}
    if stage in ("__init__", "cost_estimate"):
        assert not imported
        return
    assert all(NUMBER[other] < NUMBER[stage] for other in imported)


def test_every_stage_says_what_it_takes_and_gives() -> None:
    for stage, number in NUMBER.items():
        file = ROOT / stage / "__init__.py" if (ROOT / stage).is_dir() else ROOT / f"{stage}.py"
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        assert docstring.startswith(f"Stage {number + 1}"), file
