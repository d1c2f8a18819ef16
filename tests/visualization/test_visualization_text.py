import pytest

from jax_vtm.visualization.page import probability, visualization_headline


def one(name: str, unmerged: float, merged: float) -> dict:
    return {"name": name, "unmerged": unmerged, "merged": merged}


SAME = {"label": [one("archery", 0.971, 0.964), one("bowling", 0.02, 0.03)]}
OTHER = {"verb": [one("cut", 0.6, 0.2), one("wash", 0.3, 0.7)], "noun": [one("pan", 0.8, 0.9), one("knife", 0.1, 0.1)]}


def results(*predictions: dict, mode: str = "merge", per_step: bool = False) -> dict:
    run = {
        "reduction": {"mode": mode},
        "tokens_per_layer": [197, 100, 50],
        "tokens_per_time_step": per_step,
        "mac_ratio": 0.4,
    }
    return {"run": run, "clips": [{"predictions": prediction} for prediction in predictions]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            results(SAME),
            "Merging made 50 tokens of 197, with 40 % of the arithmetic; prediction unchanged.",
        ),
        (
            results(OTHER, mode="drop"),
            "Dropping left 50 of 197 tokens, with 40 % of the arithmetic; prediction changed: verb cut → wash.",
        ),
        (
            results(SAME, OTHER, mode="hybrid", per_step=True),
            "Hybrid merging made 50 tokens of 197 in each time step, with 40 % of the arithmetic; "
            "the prediction is unchanged in 1 of 2 clips.",
        ),
        (
            results({}, mode="random_merge"),
            "Random merging made 50 tokens of 197, with 40 % of the arithmetic.",
        ),
    ],
)
def test_one_sentence_says_what_was_done_and_what_came_of_it(given, sentence):
    assert visualization_headline(given) == sentence


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0"), (0.0004, "<0.1"), (0.0006, "0.1"), (0.9996, ">99.9"), (1, "100.0")],
)
def test_what_is_almost_certain_is_not_called_certain(share, text):
    assert probability(share) == text
