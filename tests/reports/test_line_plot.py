import math
import re
import xml.etree.ElementTree as ET

import pytest

from jax_vtm.reports import wording
from jax_vtm.reports.line_plot import BOTTOM, TOP, Line, Part, bars, lines


def test_lines_rise_with_their_values_and_say_their_numbers():
    plot = lines("a title", [Line("one", [0, 50, 100]), Line("two & more", [1, 1, 1])], "layer", first=0, unit=" %")
    tree = ET.fromstring(plot)
    path = re.search(r'd="M([\d.]+) ([\d.]+)h0L([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', plot)
    assert path
    x0, y0, x1, y1, x2, y2 = map(float, path.groups())
    assert x0 < x1 < x2
    assert (y0, y2) == (BOTTOM, TOP)
    assert y1 == pytest.approx((y0 + y2) / 2)
    assert "one: 0 %, 50.0 %, 100 %; two & more: 1.00 %" in tree.findtext("desc", "")
    assert [text.text for text in tree.iter("text") if text.text in ("0", "1", "2")] == ["0", "1", "2"]


def test_what_is_no_number_is_a_gap():
    plot = lines("a title", [Line("one", [1, math.nan, 1, 1])], "time step")
    assert len(re.findall(r"M[\d.]+ [\d.]+h0", plot)) == 2
    assert "nan" not in plot
    assert f"one: 1.00, {wording.MISSING}, 1.00" in plot
    assert ET.fromstring(lines("a title", [Line("one", [math.nan])], "time step")) is not None


def test_many_places_leave_out_numbers():
    plot = lines("a title", [Line("one", [1.0] * 64)], "time step")
    assert len(ET.fromstring(plot).findall("text")) < 30


def test_bars_stand_on_each_other():
    plot = bars("a title", [Part("of 1", [75, 0], "s1", 0.2), Part("of 2", [25, 100], "s1")], "layer", first=1)
    boxes = [
        {name: float(box.get(name, "0")) for name in ("x", "y", "width", "height")}
        for box in ET.fromstring(plot).findall("rect")
    ][:3]
    full = BOTTOM - TOP
    assert [box["height"] for box in boxes] == pytest.approx([0.75 * full, 0.25 * full, full], abs=0.1)
    assert boxes[1]["y"] + boxes[1]["height"] == pytest.approx(boxes[0]["y"], abs=0.1)
    assert boxes[2]["x"] > boxes[0]["x"] == boxes[1]["x"]
