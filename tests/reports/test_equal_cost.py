import hypothesis
import pytest
from hypothesis import strategies

from jax_vtm.reports import Interval
from jax_vtm.reports.equal_cost import (
    at_cost,
    curves,
    least_cost,
    mac_table,
    mean_over,
    random_drop_remark,
    speed_table,
)
from jax_vtm.reports.formatting import MISSING

RUNS = [
    {"name": "unmerged", "reduction": {"mode": "none", "r": 0}},
    {"name": "merge r=9", "reduction": {"mode": "merge", "r": 9}},
    {"name": "merge r=5", "reduction": {"mode": "merge", "r": 5}},
    {"name": "random_drop r=5, decreasing", "reduction": {"mode": "random_drop", "r": 5}},
    {"name": "random_drop r=9, decreasing", "reduction": {"mode": "random_drop", "r": 9}},
    {"name": "drop r=9", "reduction": {"mode": "drop", "r": 9}},
]
VALUES = dict(zip((run["name"] for run in RUNS), (90.0, 70.0, 88.0, 80.0, 60.0, 5.0), strict=True))
INTERVALS = {name: Interval(value, value - 2, value + 1) for name, value in VALUES.items()}
SHARES = dict(zip(VALUES, (1.0, 0.2, 0.6, 0.5, 0.3, 0.2), strict=True))


def test_runs_that_differ_only_in_r_make_a_curve_from_the_unmerged_run_on():
    found = curves(RUNS, INTERVALS, SHARES)
    assert list(found) == ["merge", "random drop, decreasing"], "a single run is no curve"
    assert [(cost, value.value) for cost, value in found["merge"]] == [(0.2, 70.0), (0.6, 88.0), (1.0, 90.0)]


def test_tables_read_curves_between_their_runs_and_leave_empty_what_lies_outside():
    table = mac_table(curves(RUNS, INTERVALS, SHARES), "title")
    assert [column.head for column in table.columns] == [
        "runs",
        *(f"at 0.{share} (%)" for share in (50, 40, 30, 20)),
        "mean (%)",
        "-0.5 at",
    ]
    merge, random_drop = ({column.title: column.lines(row) for column in table.columns} for row in table.rows)
    assert merge["at 0.50"] == ["83.5", "[81.5, 84.5]"]
    assert random_drop["at 0.40"] == ["70.0", "[68.0, 71.0]"]
    assert (merge["at 0.20"], random_drop["at 0.20"]) == (["70.0", "[68.0, 71.0]"], [MISSING])
    # From 30 %, where random dropping's curve begins: trapezoids by hand.
    assert merge["mean"] == [f"{((74.5 + 88) / 2 * 0.3 + (88 + 90) / 2 * 0.4) / 0.7:.1f}"]
    # Half a point less than 90 is a quarter of the way down from there to 88, and a twentieth of that to 80.
    assert (merge["-0.5 at"], random_drop["-0.5 at"]) == (["0.90"], [f"{1 - 0.5 / 20:.2f}"])
    speeds = dict(zip(VALUES, (1.0, 3.5, 1.6, 1.4, 2.5, 3.0), strict=True))
    table = speed_table(curves(RUNS, INTERVALS, speeds), "title")
    assert {"at 3\N{MULTIPLICATION SIGN}"} <= table.rows[0].keys() - table.rows[1].keys()


def test_runs_of_one_series_are_a_curve_from_the_unmerged_run_on_whatever_else_they_differ_in():
    kept = {"keep": 64, "by": "run_length"}
    lists = (
        ("merge r=[9, 5]", {"r": [9, 5]}),
        ("merge r=[4], input 64 by run_length", {"r": [4], "input": kept}),
    )
    searched = [{"name": n, "reduction": {"mode": "merge", **fields}, "series": "searched"} for n, fields in lists]
    only_input = {"name": "input 64 by run_length", "reduction": {"mode": "merge", "r": 0, "input": kept}}
    runs = [RUNS[0], only_input, *searched]
    values = {run["name"]: Interval(value) for run, value in zip(runs, (90.0, 89.0, 88.0, 89.8), strict=True)}
    costs = dict(zip(values, (1.0, 0.5, 0.3, 0.2), strict=True))
    found = curves(runs, values, costs)
    assert list(found) == ["searched"]
    assert [(cost, value.value) for cost, value in found["searched"]] == [(0.2, 89.8), (0.3, 88.0), (1.0, 90.0)]
    assert least_cost(found["searched"], 89.5) == 0.2
    assert least_cost(found["searched"], 89.9) == pytest.approx(0.3 + 0.7 * 1.9 / 2)
    assert least_cost(found["searched"], 90.1) is None


def test_without_curves_there_is_no_table():
    assert not mac_table(curves(RUNS[:2], INTERVALS, SHARES), "title").rows


@hypothesis.given(
    strategies.lists(
        strategies.tuples(strategies.floats(0.01, 1), strategies.floats(0, 100)),
        min_size=2,
        unique_by=lambda point: point[0],
    ),
    strategies.randoms(),
    strategies.floats(0, 1),
)
def test_a_curve_meets_its_runs_lies_between_them_and_does_not_depend_on_their_order(points, random, share):
    names = [f"merge r={number}" for number in range(len(points))]
    runs = [{"name": name, "reduction": {"mode": "merge", "r": number}} for number, name in enumerate(names)]
    values = {name: Interval(value, value, value) for name, (_, value) in zip(names, points, strict=True)}
    costs = {name: cost for name, (cost, _) in zip(names, points, strict=True)}
    curve = curves(runs, values, costs)["merge"]
    for cost, value in points:
        assert at_cost(curve, cost) == pytest.approx((value, value, value))
    low, high = curve[0][0], curve[-1][0]
    cost = low + share * (high - low)
    found = at_cost(curve, min(cost, high))
    around = [value.value for _, value in curve]
    assert found
    assert min(around) - 1e-9 <= found.value <= max(around) + 1e-9
    assert at_cost(curve, low * 0.99) is None
    assert at_cost(curve, high * 1.01) is None
    assert min(around) - 1e-6 <= mean_over(curve, low, high) <= max(around) + 1e-6
    if low < cost < high:
        parts = mean_over(curve, low, cost) * (cost - low) + mean_over(curve, cost, high) * (high - cost)
        assert parts == pytest.approx(mean_over(curve, low, high) * (high - low), abs=1e-6)
    random.shuffle(runs)
    assert curves(runs, values, costs)["merge"] == curve


def test_runs_with_fewer_patches_begin_at_all_patches_and_merging_after_them_at_as_few():
    kept = [{"keep": keep, "by": "random"} for keep in (64, 128)]
    runs = [
        RUNS[0],
        *({"name": f"input {i['keep']} by random", "reduction": {"mode": "merge", "r": 0, "input": i}} for i in kept),
        *(
            {"name": f"merge r={r}, input 128 by random", "reduction": {"mode": "merge", "r": r, "input": kept[1]}}
            for r in (5, 9)
        ),
    ]
    values = {run["name"]: Interval(float(number)) for number, run in enumerate(runs)}
    costs = dict(zip(values, (1.0, 0.25, 0.5, 0.4, 0.3), strict=True))
    found = curves(runs, values, costs)
    assert {name: [(cost, value.value) for cost, value in curve] for name, curve in found.items()} == {
        "input by random": [(0.25, 1.0), (0.5, 2.0), (1.0, 0.0)],
        "merge, input 128 by random": [(0.3, 4.0), (0.4, 3.0), (0.5, 2.0)],
    }


def test_random_dropping_is_missed_wherever_something_is_reduced_without_it():
    assert not random_drop_remark(RUNS)
    listed = {"name": "drop then merge r=9", "reduction": {"mode": ["drop", "merge"], "r": 9}}
    assert '--config.sweep.mode="merge,(drop,merge),random_drop" adds it' in random_drop_remark([*RUNS[:2], listed])
    assert not random_drop_remark(RUNS[:1])
