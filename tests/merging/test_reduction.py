import pytest

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, no_reduction


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "average"}, r"reduction\.mode is 'average'; known are none, merge, random_merge, drop"),
        ({"head_aggregation": "max"}, r"reduction\.head_aggregation is 'max'; known are mean, concat"),
        ({"layout": "new"}, r"reduction\.layout is 'new'; known are reference, fixed"),
        ({"threshold": float("nan")}, r"reduction\.threshold is NaN"),
        ({"r": -1}, "r is -1"),
        ({"r": [3, -1]}, "-1"),
        ({"inflection": 2.0}, "inflection is 2.0"),
        ({"r": [3, 4], "inflection": 0.5}, "r is a list"),
        ({"repeat_layer": (-1, 2)}, r"reduction\.repeat_layer is \(-1, 2\)"),
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
    assert Reduction(r=4, mode="none").per_layer(3) == ((0,), (0,), (0,))
    with pytest.raises(UserError, match=r"4 layers.*3"):
        Reduction(r=[1, 2, 3, 4]).per_layer(3)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(0, ((1, 2, 3), (4,), (5,))), (1, ((1,), (2, 3, 4), (5,))), (2, ((1,), (2,), (3, 4, 5)))],
)
def test_a_repeated_layer_has_a_step_per_repetition(layer, expected):
    assert Reduction(r=[1, 2, 3, 4, 5], repeat_layer=(layer, 3)).per_layer(3) == expected


def test_a_repeated_layer_must_exist():
    with pytest.raises(UserError, match="layer 3; the model has layers 0 to 2"):
        Reduction(r=1, repeat_layer=(3, 2)).per_layer(3)


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
