import copy

import pytest
from page_reader import HOSTILE
from report_examples import metric, run
from test_sweep_page import PLAIN, cell

from jax_vtm.reports.layer_plot import LayerSeries, LayerValue, over_layers
from jax_vtm.sweep.one_layer_section import one_layer_answer
from jax_vtm.sweep.page import render_sweep


def facts(layer: int, times: int) -> dict:
    counts = {"merged_tokens": 900.0, "mixed_tokens": 450.0, "chance_tokens": 675.0}
    return {"layer": layer, "times": times, "r": 50, "clips": 16, "tokens": 512, "groups": 512.0 - 50 * times, **counts}


@pytest.fixture
def results() -> dict:
    """A sweep of an unmerged run and of two layers, one and two times."""
    one = cell()
    one["runs"] = [entry for entry in one["runs"] if entry["reduction"]["mode"] == "none"]
    one["comparison"] = []
    for times in (1, 2):
        for layer in (0, 1):
            name = f"layer {layer}, {times}"
            entry = run(name, PLAIN | {"mode": "merge", "r": [0] * layer + [50] * times}, [513, 463], 1_000_000)
            top1 = 0.9 - 0.1 * times * (1 - layer)
            entry["metrics"] = {"top1": metric(round(2880 * top1), top1 - 0.02, top1 + 0.02)}
            entry["one_layer"] = facts(layer, times)
            one["runs"].append(entry)
            one["measured"]["runs"][name] = one["measured"]["runs"]["unmerged"]
    return {"name": "layers", "cells": [one]}


def test_the_answer_names_the_layers_that_cost_most_and_least(results):
    html = render_sweep(results)
    answer = one_layer_answer(results["cells"][0])
    assert answer.startswith("Reducing 512 tokens to 412 in one layer alone (2 times r = 50) changes accuracy by ")
    assert answer.endswith(
        "points in layer 0, where it costs most, and by \N{MINUS SIGN}2.0 in layer 1, where it costs least."
    )
    shown = answer.replace("r = ", "r\u00a0=\u00a0")
    assert f"<h1>{shown}</h1>" in html
    assert html.index("<h2>One layer alone</h2>") < html.index("<h2>Accuracy and cost</h2>")
    # Half of the merged tokens across times, and three quarters by chance.
    assert html.count('data-sort="0.5"') == html.count('data-sort="0.75"') == 4


def test_other_sweeps_have_neither(results):
    assert one_layer_answer(cell()) == ""
    assert "One layer alone" not in render_sweep({"name": "plain", "cells": [cell()]})
    mixed = copy.deepcopy(results)
    mixed["cells"][0]["runs"] += [entry for entry in cell()["runs"] if entry["name"] == "merge r=50"]
    assert one_layer_answer(mixed["cells"][0]) == ""
    assert "<h2>One layer alone</h2>" in render_sweep(mixed)


def test_text_from_outside_stays_text(results):
    for entry in results["cells"][0]["runs"]:
        if "one_layer" in entry:
            entry["name"] = f"{HOSTILE}{entry['name']}"
    results["cells"][0]["measured"]["runs"] = {}
    assert HOSTILE not in render_sweep(results)


def test_a_plot_draws_every_value_once_and_only_known_intervals():
    series = [
        LayerSeries("a", [LayerValue(0, 10, 5, 15), LayerValue(11, 20, 20, 20)], 0),
        LayerSeries("b <", [LayerValue(11, 30, 30, 30)], 1, dashed=True),
    ]
    drawn = over_layers("t", series, x_label="layer", guide=("unmerged", 50.0), zero=True)
    assert drawn.count('class="dot"') == 3
    assert drawn.count('class="whisker"') == 1
    assert drawn.count('class="guide"') == 2
    assert "b &lt;, layer 11: 30.0 %" in drawn
    assert "<desc>a: layer 0 10.0 % [5.0, 15.0], layer 11 20.0 %; b &lt;: layer 11 30.0 %</desc>" in drawn
