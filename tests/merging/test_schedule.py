import json

import pytest
from recorded_cases import TORCH

from jax_vtm.errors import UserError
from jax_vtm.merging import clamp_r, expand_r, plan

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


@pytest.mark.parametrize(("r", "inflection", "message"), [(-1, 0, "r is -1"), ([1, -2], 0, "-2"), (3, 1.5, "1.5")])
def test_values_out_of_range(r, inflection, message):
    with pytest.raises(UserError, match=message):
        expand_r(r, 4, inflection)


def test_nan_inflection_is_refused():
    with pytest.raises(UserError, match="nan"):
        expand_r(3, 4, float("nan"))


def test_truncation_makes_totals_smaller():
    assert sum(expand_r(300, 12, 1)) == sum(expand_r(300, 12, -1)) == 3595
    assert sum(expand_r(18, 12, 1)) == 211
    assert sum(expand_r(150, 12, -1)) == 1795


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
    ("num_tokens", "r", "protected", "expected"),
    [(10, 3, 0, 3), (10, 99, 0, 5), (10, 99, 1, 4), (11, 99, 1, 5), (12, 99, 2, 5), (1, 3, 0, 0), (9, -2, 0, 0)],
)
def test_clamping(num_tokens, r, protected, expected):
    assert clamp_r(num_tokens, r, protected) == expected
