import pytest

from jax_vtm.evaluation.run_names import effective, run_name
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.merging.schedule import MODES


def test_a_layer_that_is_repeated_once_is_not_repeated():
    assert effective(Reduction(r=(0, 5), repeat_layer=(1, 1))) == effective(Reduction(r=(0, 5)))


def test_modes_of_layers_that_remove_nothing_make_no_difference():
    assert effective(Reduction(r=(5,), mode="drop,merge")) == effective(Reduction(r=(5,), mode="drop"))
    shift = Reduction(r=(0, 5), mode="merge,merge,drop", importance="shift", proportional_attention=True)
    assert run_name(effective(shift)) == "merge r=[0, 5]"
    kept = Reduction(input={"keep": 9})
    assert effective(kept) == effective(Reduction(r=(0, 0), mode="random_merge", input={"keep": 9})) == kept


def test_names_tell_all_effective_reductions_apart():
    drawn = [
        effective(Reduction(r, slope, mode, sizes, heads, threshold, layout, repeat))
        for r in (0, 5, (5, 5, 5), (5, 0, 5))
        for slope in ((0.0, 1.0, -0.25) if isinstance(r, int) else (0.0,))
        for mode in (*MODES, ("drop", "merge"), ("drop", "drop", "merge"))
        for sizes in (True, False, None)
        for heads in ("mean", "concat")
        for threshold in (0.0, 0.5)
        for layout in ("reference", "fixed")
        for repeat in ((None, (0, 2)) if isinstance(mode, str) else (None,))
    ]
    different = set(drawn)
    assert len({run_name(reduction) for reduction in different}) == len(different) > 100
    assert run_name(no_reduction()) == "unmerged"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"r": 3}, "merge r=3"),
        ({"r": (3, 2), "mode": "drop"}, "drop r=[3, 2]"),
        ({"r": (3, 3, 0)}, "merge r=[3 x 2, 0]"),
        ({"r": 3, "inflection": -1.0}, "merge r=3, decreasing"),
        ({"r": 3, "inflection": 0.5}, "merge r=3, inflection 0.5"),
        ({"r": 3, "mode": "hybrid", "threshold": 0.8}, "hybrid r=3, threshold 0.8"),
        (
            {"r": 3, "mode": "drop,drop,hybrid,merge", "threshold": 0.8},
            "drop x 2 then hybrid then merge r=3, threshold 0.8",
        ),
        ({"input": {"keep": 9}, "mode": "random_merge", "inflection": -1.0}, "input 9 by run_length"),
        ({"r": 3, "mode": "drop,merge", "importance": "shift"}, "drop then merge r=3, by shift"),
        ({"r": 3, "proportional_attention": False}, "merge r=3, no proportional attention"),
    ],
)
def test_names_say_no_more_than_what_is_not_usual(fields, name):
    assert run_name(Reduction(**{"proportional_attention": True, **fields})) == name
