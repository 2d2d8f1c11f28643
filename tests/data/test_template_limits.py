"""Chat templates that would run for hours or fill the memory end with an error that says so."""

import pytest

from luthier.data.rendering import template_limits
from luthier.data.rendering.chat_template import Template
from luthier.types.errors import RenderError

_MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "CPU time"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", "CPU time"),
        ("{% set n = namespace(x=1) %}{% for a in range(99999) %}{% for b in range(9999) %}"
         "{% set n.x = n.x + 1 %}{% endfor %}{% endfor %}", "CPU time"),
        ("{{ '%1000000000d' % 1 }}", "width"),
        ("{{ '%*d' % (1000000000, 1) }}", "width"),
        ("{{ 'a'.center(1000000000) }}", "characters"),
        ("{{ 'a'.zfill(1000000000) }}", "characters"),
        ("{{ 'a' * 1000000000 }}", "characters"),
        ("{{ 1000000000 * 'a' }}", "characters"),
        ("{{ [1] * 1000000000 }}", "characters"),
        ("{{ ('a' * 10000000).replace('a', 'b' * 1000) }}", "characters"),
        ("{{ 9 ** 99999999 }}", "power"),
        ("{% for a in range(1000) %}{{ 'a' * 1000000 }}{% endfor %}", "characters"),
        ("{{ 1 // 0 }}", "zero"),
        ("{% break %}", "break"),
        ("{{ messages[9].content }}", "undefined|no element"),
    ],
)  # fmt: skip
def test_a_template_without_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, template: str, reason: str) -> None:
    if reason == "CPU time":  # the others have time to meet their own limit, on a slow CPU too
        monkeypatch.setattr(template_limits, "MAX_CPU_S", 0.03)
    with pytest.raises(RenderError, match=reason):
        Template(template, {}).render(_MESSAGES, None)


def test_long_conversations_are_within_the_limits() -> None:
    template = Template("{% for m in messages %}{{ m.role }}: {{ m['content'] | trim }}\n{% endfor %}", {})
    assert len(template.render(_MESSAGES * 20_000, None)) == 20_000 * len("user: hi\n")
