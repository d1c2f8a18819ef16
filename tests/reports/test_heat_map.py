import re

import numpy as np
import pytest

from jax_vtm.reports.heat_map import heat_map

MATRIX = np.array([[90, 10, 0], [0, 0, 0], [0, 3, 1]])
NAMES = ["turn <left>", "rise", "a name that is much too long"]


@pytest.fixture(scope="module")
def drawing():
    return heat_map("verb", MATRIX, NAMES)


def test_every_cell_with_videos_is_drawn_and_says_its_own(drawing):
    assert re.findall(r"<title>(.*?)</title>", drawing)[1:] == [
        "turn &lt;left&gt; predicted as turn &lt;left&gt;: 90 of 100",
        "turn &lt;left&gt; predicted as rise: 10 of 100",
        "a name that is much too long predicted as rise: 3 of 4",
        "a name that is much too long predicted as a name that is much too long: 1 of 4",
    ]
    assert re.findall(r'class="count middle"[^>]*>(\d+)<', drawing) == ["90", "10", "3", "1"]


def test_right_and_wrong_differ_in_colour_and_shares_in_shade(drawing):
    cells = re.findall(r'class="bar (s\d)".*?fill-opacity="([\d.]+)"', drawing)
    assert [colour for colour, _ in cells] == ["s1", "s2", "s2", "s1"]
    shades = [float(shade) for _, shade in cells]
    assert shades[0] > shades[1]
    assert shades[2] > shades[3]


def test_true_classes_run_down_and_predicted_ones_across(drawing):
    places = [tuple(map(float, place)) for place in re.findall(r'<rect[^>]*? x="([\d.]+)" y="([\d.]+)"', drawing)]
    (x00, y00), (x01, y01), (x21, y21), _ = places
    assert y01 == y00
    assert x01 > x00
    assert x21 == x01
    assert y21 > y00


def test_a_screen_reader_hears_every_class_with_its_most_frequent_mistake(drawing):
    assert (
        "turn &lt;left&gt;: 90 of 100 right, 10 predicted as rise; rise: 0 of 0 right; "
        "a name that is much too long: 1 of 4 right, 3 predicted as rise"
    ) in drawing


def test_numbers_that_do_not_fit_are_left_to_the_pointer():
    matrix = np.full((20, 20), 1000)
    drawing = heat_map("noun", matrix, [str(index) for index in range(20)])
    assert "count middle" not in drawing
    assert drawing.count("<rect") == 400


def test_it_stays_within_its_width():
    drawing = heat_map("noun", np.eye(20, dtype=int), ["a" * 30] * 20)
    edges = [
        float(x) + float(width) for x, width in re.findall(r'<rect[^>]*? x="([\d.]+)"[^>]*? width="([\d.]+)"', drawing)
    ]
    assert max(edges) <= 360.1
