import pytest
from report_examples import single, sweep, two_heads, unlabelled, with_speed

from jax_vtm.reports import wording

M = wording.MINUS
X = wording.TIMES


def test_faster():
    assert wording.headline(two_heads()) == (
        f"Merging (r = 110) runs 1.92{X} as fast with 49 % of the arithmetic; "
        f"action accuracy changes by {M}0.4 points "
        f"(95 % interval {M}0.8 to 0.0); 99.1 % of predictions agree."
    )


def test_slower():
    assert f"runs slower, at 0.80{X} the speed, with 49 % of the arithmetic;" in wording.headline(with_speed(0.8))


def test_same_speed():
    assert f"runs at the same speed (1.01{X}) with" in wording.headline(with_speed(1.01))


def test_without_labels():
    assert wording.headline(unlabelled()) == (
        f"Merging (r = 110) runs 1.92{X} as fast with 49 % of the arithmetic; 100.0 % of predictions agree. "
        "The videos carry no labels, so accuracy was not measured."
    )


def test_one_run():
    assert wording.headline(single()) == (
        "Without merging, the model reaches 99.4 % action accuracy (95 % interval 99.0 to 99.6), "
        "runs 140 clips per second and needs 0.157 GMACs per clip."
    )


def test_no_run():
    assert wording.headline(two_heads() | {"runs": [], "comparison": []}) == "No run has finished."


def test_of_many_runs_the_fastest_that_keeps_accuracy():
    assert wording.headline(sweep()).startswith(
        f"Of 4 reduced runs, merge r=150 is the fastest that keeps accuracy within 1 point of unmerged: it runs 1.45{X}"
    )


def test_of_many_runs_that_all_lose():
    results = sweep()
    results["runs"] = [results["runs"][0], *results["runs"][3:]]
    assert wording.headline(results).startswith(
        "None of 2 reduced runs keeps accuracy within 1 point of unmerged; the closest, merge r=196, runs"
    )


def test_of_many_runs_without_labels():
    results = sweep()
    results["dataset"]["labelled"] = False
    for run in results["runs"]:
        run["metrics"] = {}
    assert wording.headline(results).startswith("The fastest of 4 reduced runs, merge r=392, runs")


def test_runs_without_timing_or_comparison():
    results = two_heads()
    results["comparison"] = []
    results["measured"]["runs"].pop("merge r=110")
    assert wording.headline(results) == (
        f"Merging (r = 110) needs 49 % of the arithmetic; action accuracy changes by {M}0.4 points."
    )


def test_only_accuracy_is_known():
    results = two_heads()
    results["comparison"] = []
    results["runs"][1]["mac_ratio"] = None
    results["measured"] = {}
    assert wording.headline(results).startswith("Merging (r = 110) has run: action accuracy changes by")


def test_no_unmerged_run():
    results = two_heads()
    results["comparison"] = []
    for run in results["runs"]:
        run["reduction"] = {"mode": "drop", "r": 8}
    assert wording.headline(results) == "2 runs, and none to compare them with."


def test_r_per_layer_is_called_by_the_name_of_the_run():
    results = two_heads()
    results["runs"][1]["reduction"]["r"] = [110, 50]
    assert wording.headline(results).startswith("merge r=110 runs")


def test_failures():
    results = two_heads()
    assert wording.failure_note(results) == ""
    results["dataset"] |= {"n_failed": 12, "n_ok": 2868}
    assert wording.failure_note(results) == (
        "12 of 2880 videos could not be read. Every number here counts the other 2868 only."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.157, "0.157"), (1.567, "1.57"), (157, "157"), (15700.4, "15700"), (0, "0"), (None, wording.MISSING)],
)
def test_numbers_keep_three_digits(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(("difference", "text"), [(-0.0042, f"{M}0.4"), (0.003, "+0.3"), (-0.0001, "0.0"), (0, "0.0")])
def test_points_carry_their_sign(difference, text):
    assert wording.points(difference) == text


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([513] * 5, "513"),
        ([513, 403, 293, 183, 73], "513 403 293 183 | 73"),
        (list(range(130, 0, -10)), "130 120 110 … 20 | 10"),
        ([], wording.MISSING),
    ],
)
def test_tokens_per_layer(tokens, text):
    assert wording.tokens_per_layer(tokens) == text
