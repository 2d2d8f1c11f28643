"""The SVG chart: axes, ticks, legend, and any points."""

from xml.etree import ElementTree

import pytest

from luthier.cli.svg_chart import Series, line_chart


@pytest.mark.parametrize("points", [[], [(1, 2.5)], [(1, 2.5), (2, 2.5)], [(5, -1.0), (10, 3e-7)], [(0, 1), (1e6, 9)]])
def test_a_chart_has_axes_ticks_titles_and_a_ground(points: list[tuple[float, float]]) -> None:
    text = line_chart("Loss & more", "step", "loss", [Series("rank <8>", points), Series("b", [])])
    root = ElementTree.fromstring(text)  # noqa: S314 - our own document
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Loss & more", "step", "loss", "rank <8>", "b"} <= set(texts)
    assert len(texts) >= 5 + 4  # at least two ticks on each axis
    assert root[0].attrib["fill"] == "white"
    height, width = float(root.attrib["height"]), float(root.attrib["width"])
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
