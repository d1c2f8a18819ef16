import pytest
from comparison_examples import three_runs, two_files, two_runs

from jax_vtm.comparison.text import comparison_headline, format_comparison, missing_note, score_sentence, small
from jax_vtm.reports.wording import MINUS, comparison_sentence, p_value, points


def test_one_comparison_is_its_sentence():
    results = two_runs().results
    assert comparison_headline(results) == comparison_sentence(results["comparisons"][0])
    assert comparison_headline(results).startswith("merge r=9 against unmerged: action accuracy changes by ")


def test_a_single_head_goes_without_its_name():
    assert "unmerged: accuracy changes by" in comparison_headline(two_runs(heads=["label"]).results)


def test_several_comparisons_are_a_span():
    results = three_runs().results
    low, high = sorted(entry["difference"] for entry in results["comparisons"])
    assert comparison_headline(results).startswith(
        f"2 runs against unmerged: action accuracy changes by {points(low)} to {points(high)} points; "
    )
    results = three_runs(labelled=False).results
    assert comparison_headline(results).startswith("2 runs against unmerged: ")
    assert comparison_headline(results).endswith(" % of predictions agree.")
    assert "accuracy" not in comparison_headline(results)


def test_the_terminal_has_every_number():
    results = two_runs().results
    (entry,) = results["comparisons"]
    text = format_comparison(results)
    assert max(len(line) for line in text.splitlines()) <= 120
    metric = entry["metrics"]["action/top1"]
    (line,) = [line for line in text.splitlines() if "action top-1" in line]
    assert f"{100 * metric['run']['value']:.1f} %" in line
    assert f"{100 * metric['baseline']['value']:.1f} %" in line
    assert f"{points(metric['difference'])} [{points(metric['low'])}, {points(metric['high'])}]" in line
    assert p_value(metric["mcnemar_p"]) in line
    assert f"{entry['flips']['gained']} gained, {entry['flips']['lost']} lost" in text


def test_missing_videos_are_said():
    results = two_files().results
    assert "2 only in ours.npz, 2 only in theirs.pkl" in missing_note(results)
    assert "2 only in ours.npz" in " ".join(format_comparison(results).split())
    assert missing_note(two_runs().results) == ""


def test_scores():
    found = {"kind": "logits", "mean": 0.0000123, "largest": 2.5, "video": "a", "class": 3, "n_without": 0}
    assert score_sentence("verb", found) == "verb logits differ by 1.23e-05 on average and at most 2.50 (a, class 3)"
    without = score_sentence("label", found | {"n_without": 2})
    assert without.endswith("; 2 videos without numbers left out")
    assert score_sentence("label", found | {"largest": 0.0}) == "logits are the same to the last digit"
    assert score_sentence("label", {"kind": None, "reason": "x"}) == "scores are not compared: x"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.00"), (0.1, "0.10"), (0.0341, "0.034"), (0.001, "0.001"), (0.0009, "below 0.001")]
)
def test_p_values(value, text):
    assert p_value(value) == text


def test_small_numbers():
    assert [small(value) for value in (0.0, 2e-7, 0.5, 12.0)] == ["0", "2.00e-07", "0.500", "12.0"]
    assert MINUS not in small(1e-9)
