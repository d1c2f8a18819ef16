"""Schedules, token counts, and what a reduction refuses."""

import json

import pytest
from recorded_cases import TORCH

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, clamp_r, expand_r, no_reduction, plan

RECORDED = json.loads((TORCH / "parse_r.json").read_text())


def label(case):
    return f"{case['num_layers']}-{case['form']}-{case['r']}-{case.get('inflection', '')}".replace(" ", "")


def test_every_recorded_schedule():
    fitting = [case for case in RECORDED["cases"] if case["form"] != "list" or len(case["r"]) <= case["num_layers"]]
    assert (len(fitting), len(RECORDED["cases"])) == (722, 730)
    for case in fitting:
        found = expand_r(case["r"], case["num_layers"], case.get("inflection", 0))
        assert found == tuple(case["out"]), label(case)


def test_a_list_longer_than_the_layers_is_an_error_here():
    # The reference passes such a list through, and then ignores the rest.
    longer = [case for case in RECORDED["cases"] if case["form"] == "list" and len(case["r"]) > case["num_layers"]]
    assert longer
    for case in longer:
        with pytest.raises(UserError, match=f"{len(case['r'])} layers.*{case['num_layers']}"):
            expand_r(case["r"], case["num_layers"])


def test_what_the_reference_cannot_do():
    assert {error["raises"] for error in RECORDED["errors"]} == {"ZeroDivisionError", "TypeError"}
    assert expand_r(5, 1) == (5,)
    assert expand_r(5, 1, -1.0) == (5,)
    with pytest.raises(UserError, match=r"list.*inflection=-1"):
        expand_r([300] * 12, 23, -1)
    assert expand_r([300] * 12, 23, 0) == (300,) * 12 + (0,) * 11


def test_token_counts_of_vivit():
    constant = (3137, 2837, 2537, 2237, 1937, 1637, 1337, 1037, 737, 437, 219, 110, 56)
    assert plan(3137, expand_r(300, 12), 1) == constant
    assert plan(3137, expand_r(200, 12), 1)[-1] == 737
    assert plan(3137, expand_r(300, 12, -1), 1)[-1] == 13
    assert plan(3137, expand_r(300, 12, 1), 1)[-1] == 173
    assert plan(3137, expand_r([1568], 12), 1) == (3137,) + (1569,) * 12
    assert plan(3137, expand_r([1568, 784], 12), 1)[-1] == 785


def test_token_counts_without_a_class_token():
    counts = plan(1568, expand_r(150, 12))
    assert counts[:2] == (1568, 1418)
    assert counts[-5:] == (368, 218, 109, 55, 28)
    assert plan(196, expand_r(18, 12)) == (196, 178, 160, 142, 124, 106, 88, 70, 52, 34, 17, 9, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "average"}, r"reduction\.mode is 'average'; known are none, merge, random_merge, drop"),
        ({"mode": ("drop", "average")}, r"reduction\.mode is 'average'; known are none"),
        ({"mode": ()}, r"reduction\.mode is ''; known are none"),
        (
            {"mode": "none,merge"},
            r"'none' is for all layers; a layer that removes nothing has an entry 0 in reduction\.r",
        ),
        (
            {"mode": ("drop", "merge"), "repeat_layer": (0, 2)},
            r"reduction\.repeat_layer repeats one; give one of the two",
        ),
        ({"importance": "norm"}, r"reduction\.importance is 'norm'; known are similarity, shift"),
        ({"importance": "shift"}, r"chooses tokens in the modes drop and hybrid, but reduction\.mode is 'merge'"),
        ({"importance": "shift", "mode": "drop", "repeat_layer": (0, 2)}, r"only the last one attends; give one"),
        ({"head_aggregation": "max"}, r"reduction\.head_aggregation is 'max'; known are mean, concat"),
        ({"layout": "new"}, r"reduction\.layout is 'new'; known are reference, fixed"),
        ({"threshold": float("nan")}, r"reduction\.threshold is NaN"),
        ({"r": -1}, "r is -1"),
        ({"r": [3, -1]}, "-1"),
        ({"inflection": 2.0}, "inflection is 2.0"),
        ({"inflection": float("nan")}, "inflection is nan"),
        ({"r": [3, 4], "inflection": 0.5}, "r is a list"),
        ({"repeat_layer": (-1, 2)}, r"reduction\.repeat_layer is \(-1, 2\)"),
        ({"repeat_layer": (1,)}, r"reduction\.repeat_layer is \(1,\); expected \(layer, times\)"),
        ({"repeat_layer": (0, 0)}, r"reduction\.repeat_layer is \(0, 0\)"),
    ],
)
def test_what_is_refused_at_once(settings, message):
    with pytest.raises(UserError, match=message):
        Reduction(**settings)


def test_lists_become_tuples_and_settings_hash():
    reduction = Reduction(r=[3, 4], repeat_layer=[1, 2])
    assert reduction == Reduction(r=(3, 4), repeat_layer=(1, 2))
    assert len({reduction, Reduction(r=(3, 4), repeat_layer=(1, 2)), no_reduction()}) == 2


def test_per_layer():
    assert Reduction(r=4).per_layer(3) == ((4,), (4,), (4,))
    assert Reduction(r=4, inflection=-1.0).per_layer(3) == ((8,), (4,), (0,))
    assert Reduction(r=[5]).per_layer(3) == ((5,), (0,), (0,))
    assert Reduction(r=4).per_layer(1) == ((4,),)
    assert Reduction(r=4, repeat_layer=(1, 1)).per_layer(2) == ((4,), (4,))
    assert Reduction(r=4, mode="none").per_layer(3) == ((0,), (0,), (0,))
    with pytest.raises(UserError, match=r"4 layers.*3"):
        Reduction(r=[1, 2, 3, 4]).per_layer(3)
    with pytest.raises(UserError, match="layer 3; the model has layers 0 to 2"):
        Reduction(r=1, repeat_layer=(3, 2)).per_layer(3)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(0, ((1, 2, 3), (4,), (5,))), (1, ((1,), (2, 3, 4), (5,))), (2, ((1,), (2,), (3, 4, 5)))],
)
def test_a_repeated_layer_has_a_step_per_repetition(layer, expected):
    assert Reduction(r=[1, 2, 3, 4, 5], repeat_layer=(layer, 3)).per_layer(3) == expected


@pytest.mark.parametrize(
    ("mode", "random", "drops"),
    [
        ("none", False, False),
        ("merge", False, False),
        ("random_merge", True, False),
        ("drop", False, True),
        ("random_drop", True, True),
        ("hybrid", False, False),
    ],
)
def test_what_a_mode_means(mode, random, drops):
    reduction = Reduction(mode=mode)
    assert (reduction.is_random, reduction.drops) == (random, drops)


def test_a_mode_may_be_one_per_layer_of_which_the_last_goes_on():
    listed = Reduction(mode=["drop", "drop", "merge", "merge", "merge"])
    assert listed == Reduction(mode="drop, drop, merge") == Reduction(mode="(drop,drop,merge)")
    assert [listed.of_layer(layer).mode for layer in range(4)] == ["drop", "drop", "merge", "merge"]
    assert Reduction(mode=("drop", "drop")) == Reduction(mode="drop").of_layer(3) == Reduction(mode="drop")
    assert (listed.drops, listed.draws, listed.has_sizes) == (False, False, True)
    shift = Reduction(mode="drop,merge", importance="shift")
    assert [shift.of_layer(layer).importance for layer in range(2)] == ["shift", "similarity"]
    assert [one.compares for one in (shift, shift.of_layer(0), shift.of_layer(1))] == [True, False, True]
    assert Reduction(mode="drop,random_merge").draws
    assert not Reduction(mode="drop,random_merge").is_random
    assert [listed.resolved(True).adds_log_size(layer) for layer in range(4)] == [False, False, True, True]
    with pytest.raises(UserError, match="mode lists 3 layers, but the model has 2"):
        listed.per_layer(2)


def test_protected_tokens_stay_and_what_cannot_be_removed_is_clamped():
    assert [clamp_r(10, r, 1) for r in (-2, 3, 4, 99)] == [0, 3, 4, 4]
    assert Reduction(r=9, repeat_layer=(1, 2)).plan(21, 2, 1) == (21, 12, 7, 4)
