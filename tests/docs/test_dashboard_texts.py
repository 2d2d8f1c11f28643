"""What the tests of the browser ring look for is what pages say; that ring runs apart from `make test`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TEXT = re.compile(r'^ *(?:"[^"]+"|\w+): \[\s*"((?:[^"\\]|\\.)*)",', re.M)


def _names_looked_for() -> Iterator[tuple[str, str]]:
    """(place, name) of each control that a browser test looks for by an English name in full."""
    for path in sorted((ROOT / "tests/browser").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            names = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
            if node.func.attr == "get_by_role" and names:
                role = node.args[0]
                is_control = isinstance(role, ast.Constant) and role.value in ("button", "combobox", "searchbox")
            else:
                is_control, names = node.func.attr == "get_by_label", node.args[:1]
            for name in names if is_control else []:
                if isinstance(name, ast.Constant) and str(name.value).isascii():
                    yield f"{path.name}:{node.lineno}", str(name.value)


def test_browser_tests_look_for_texts_of_the_dashboard() -> None:
    files = sorted((ROOT / "src/luthier/dashboard/static").glob("texts*.js"))
    texts = ["English", *(text for path in files for text in _TEXT.findall(path.read_text(encoding="utf-8")))]
    templates = [re.compile(re.sub(r"\\{.+?\\}", ".+", re.escape(text))) for text in texts]
    looked_for = list(_names_looked_for())
    assert len(texts) > 200
    assert len(looked_for) > 30
    beginnings = re.sub(r"\{\w+\}", "20", "\n".join(texts))
    missing = {
        place: name
        for place, name in looked_for
        if not any(template.match(name) for template in templates)
        and not re.search(rf"^{re.escape(name)}(?!\w)", beginnings, re.M)
    }
    assert not missing
