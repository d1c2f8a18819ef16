import copy

import pytest
from page_reader import HOSTILE
from page_reader import PageReader as Page
from report_examples import metric, run
from test_sweep_page import PLAIN, cell

from jax_vtm.sweep.one_layer_section import one_layer_answer
from jax_vtm.sweep.page import sweep_page


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


def compared(results: dict, low: float) -> dict:
    """Adds comparisons whose intervals end so much below and above the differences."""
    one = results["cells"][0]
    for entry in one["runs"][1:]:
        difference = entry["metrics"]["top1"]["value"] - one["runs"][0]["metrics"]["top1"]["value"]
        pair = {"run": entry["name"], "baseline": "unmerged", "metric": "top1", "agreement": 0.9}
        one["comparison"].append(pair | {"difference": difference, "low": difference - low, "high": difference + low})
    return results


def test_the_answer_names_the_layer_that_costs_most_where_that_is_known(results):
    said = "In one layer alone (2 times r = 50), 512 tokens become 412"
    one = compared(results, 0.01)["cells"][0]
    assert one_layer_answer(one) == f"{said}; accuracy falls most in layer 0, by 22.0 points."
    one["comparison"] = []
    assert one_layer_answer(compared(results, 0.3)["cells"][0]) == f"{said}."


def test_the_page_begins_with_the_layers(results):
    page = Page(sweep_page(compared(results, 0.01)).html)
    assert page.text["h2"][0] == "One layer alone"
    assert page.text["h3"][:2] == ["Top-1 over the layer", "Merged across times"]
    # Half of the merged tokens across times, and three quarters by chance.
    assert [row[-2:] for row in page.tables["One layer alone"][1:]] == [["50.0", "75.0"]] * 4


def test_other_sweeps_have_neither(results):
    assert one_layer_answer(cell()) == ""
    assert "One layer alone" not in sweep_page({"name": "plain", "cells": [cell()]}).html
    mixed = copy.deepcopy(results)
    mixed["cells"][0]["runs"] += [entry for entry in cell()["runs"] if entry["name"] == "merge r=50"]
    assert one_layer_answer(mixed["cells"][0]) == ""
    assert "<h2>One layer alone</h2>" in sweep_page(mixed).html


def test_text_from_outside_stays_text(results):
    for entry in results["cells"][0]["runs"]:
        if "one_layer" in entry:
            entry["name"] = f"{HOSTILE}{entry['name']}"
    results["cells"][0]["measured"]["runs"] = {}
    assert len(Page(sweep_page(results).html).of("script")) == 1
