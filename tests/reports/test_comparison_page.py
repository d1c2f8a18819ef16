import dataclasses

import pytest
from comparison_examples import predictions, three_runs, two_files, two_runs
from page_reader import HOSTILE, PageReader

from jax_vtm.comparison.comparison import compare
from jax_vtm.comparison.page import FLIPS_LISTED, comparison_page, comparison_text, headline
from jax_vtm.reports.formatting import MINUS, MISSING, percent, points


def read(comparison) -> PageReader:
    return PageReader(comparison_page(comparison[0], comparison[1]).html)


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("comparison", "figures"),
    [
        (two_runs(), 1),
        (three_runs(), 1),
        (two_files(), 0),
        (two_runs(labelled=False), 0),
        (two_runs(heads=["label"]), 1),
    ],
    ids=["two runs", "three runs", "two files", "unlabelled", "one head"],
)
def test_the_page_opens_with_the_answer_and_draws_accuracies_where_there_are_labels(comparison, figures):
    page = read(comparison)
    assert flat("".join(page.text["h1"])) == headline(comparison[0]["comparisons"])
    assert len(page.of("svg")) == figures
    assert ("Accuracy of every run and its baseline" in page.tables) == bool(figures)
    assert ("Neither file has labels" in " ".join(page.text["p"])) != bool(figures)


def with_costs(path, mode, macs):
    """A file of an unmerged run and such that cost less, as its results.json has it."""
    names = ["unmerged", *(f"{mode} r={r}" for r in range(1, len(macs)))]
    costs = {
        name: {"reduction": {"mode": mode if r else "none", "r": r}, "macs_per_clip": cost, "speedup": macs[0] / cost}
        for r, (name, cost) in enumerate(zip(names, macs, strict=True))
    }
    return dataclasses.replace(predictions(path, names), costs=costs)


def test_runs_of_two_files_are_compared_at_equal_macs():
    comparison = compare(with_costs("a", "merge", [1000, 700, 400]), with_costs("b", "drop", [1000, 600]), name="x")
    found = comparison[0]["equal_cost"]
    value = {run["name"]: 100 * run["accuracy"]["value"] for run in found["runs"]}
    assert found["metric"] == "action/top1"
    assert [run["mac_share"] for run in found["runs"]] == [1, 0.7, 0.4, 1, 0.6]
    assert value["unmerged (run)"] == value["unmerged (baseline)"] > value["merge r=1 (run)"]
    # At the fewest MACs that both have, where one of the two has a run and the other is between two.
    between = (2 * value["merge r=1 (run)"] + value["merge r=2 (run)"]) / 3
    text = flat(comparison_text(comparison[0]))
    assert "Action top-1 at 60 % of the MACs: " in text
    assert f"drop (baseline) {value['drop r=1 (baseline)']:.1f} % [" in text
    assert f"merge (run) {between:.1f} % [" in text
    page = read(comparison)
    rows = page.tables["Action top-1 at equal MACs"]
    assert rows[0][:3] == ["runs", "at 0.60 (%)", "at 0.50 (%)"]
    assert [row[0] for row in rows[1:3]] == ["merge (run)", "drop (baseline)"]
    assert "at equal speed" not in " ".join(page.tables), "the two were not timed in turn"
    assert any("--config.reduction.mode=random_drop adds it" in words for words in page.text["p"])


def test_runs_of_one_file_are_compared_at_equal_speed_too():
    comparison = compare(with_costs("a", "random_drop", [1000, 700, 400]), None, name="x")
    assert [run["name"] for run in comparison[0]["equal_cost"]["runs"]] == [
        "unmerged",
        "random_drop r=1",
        "random_drop r=2",
    ]
    page = read(comparison)
    assert {"Action top-1 at equal MACs", "Action top-1 at equal speed"} <= page.tables.keys()
    assert not any("adds it" in words for words in page.text["p"])


@pytest.mark.parametrize("comparison", [two_runs(), three_runs()])
def test_page_and_terminal_have_the_numbers_that_are_given(comparison):
    entries = comparison[0]["comparisons"]
    page, text = read(comparison), flat(comparison_text(comparison[0]))
    rows = iter(page.tables["Accuracy of every run and its baseline"][1:])
    for entry in entries:
        for key, metric in entry["metrics"].items():
            row = next(rows)
            assert row[:2] == [entry["run"], key.replace("/top1", " top-1")]
            between = f"[{points(metric['low'])}, {points(metric['high'])}]"
            assert row[2] == f"{points(metric['difference'])} {between}"
            shares = [metric[which] for which in ("run", "baseline")]
            assert [cell.split()[0] for cell in row[3:5]] == [percent(share["value"]) for share in shares]
            assert row[5:7] == [str(metric["only_run"]), str(metric["only_baseline"])]
            assert row[7] == ("< 0.001" if metric["mcnemar_p"] < 0.001 else f"{metric['mcnemar_p']:.3f}")
            assert between in text
    rows = iter(page.tables["Agreement of every run with its baseline"][1:])
    for entry in entries:
        for head, found in entry["scores"].items():
            row = next(rows)
            assert row[1].split()[0] == percent(entry["agreement"])
            assert row[2:5] == [f"{head} logits", f"{found['mean']:.2f}", f"{found['largest']:.2f}"]
            assert row[5] == f"{found['video']}, class {found['class']}"
        assert f"{entry['run']}: {entry['flips']['lost']} lost, {entry['flips']['gained']} gained" in text


def test_what_cannot_be_compared_says_why():
    comparison = two_runs()
    (entry,) = comparison[0]["comparisons"]
    entry["scores"]["noun"] = {"kind": None, "reason": "not both have scores"}
    entry["scores"]["verb"] |= {"largest": 0.0, "mean": 0.0, "n_without": 2}
    noun, verb = read(comparison).tables["Agreement of every run with its baseline"][1:]
    assert noun[2:] == ["noun scores", MISSING, MISSING, "not both have scores"]
    assert verb[2:] == ["verb logits", "0", "0", "identical; 2 videos without numbers left out"]


def test_the_answer_says_nothing_of_a_change_whose_sign_is_not_known():
    results = three_runs()[0]
    first, second = results["comparisons"]
    low, high = sorted(entry["difference"] for entry in (first, second))
    assert f"action accuracy changes by {points(low)} to {points(high)} points; " in headline(results["comparisons"])
    first["high"] = 0.001
    assert f"action accuracy changes by {points(second['difference'])} points in 1 of them; " in headline(
        results["comparisons"]
    )
    second["high"] = 0.001
    assert "accuracy" not in headline(results["comparisons"])
    single = two_runs(heads=["label"])[0]
    assert headline(single["comparisons"]).startswith("merge r=9 against unmerged: accuracy changes by " + MINUS)
    single["comparisons"][0]["high"] = 0.0
    agreement = percent(single["comparisons"][0]["agreement"])
    assert headline(single["comparisons"]) == f"merge r=9 against unmerged: {agreement} % of predictions agree."


def test_every_class_that_changes_is_there_with_its_videos():
    comparison = two_runs(heads=["label"])
    counts = comparison[0]["comparisons"][0]["classes"]["label"]
    rows = read(comparison).tables["Largest changes of label, merge r=9"][1:]
    gains = {
        run["name"]: run["correct"] - baseline["correct"]
        for run, baseline in zip(counts["run"], counts["baseline"], strict=True)
    }
    assert {name: int(gain.replace(MINUS, "-")) for name, gain, *_ in rows} == {k: v for k, v in gains.items() if v}


def test_flips_are_listed_with_both_predictions_and_the_lost_first():
    comparison = two_runs()
    rows = read(comparison).tables["Videos that flip, merge r=9 against unmerged"][1:]
    assert len(rows) == len(comparison[1])
    kinds = [row[1] for row in rows]
    assert kinds == sorted(kinds, key=["lost", "gained", "changed"].index)
    for video, change, *classes in rows:
        (flip,) = [flip for flip in comparison[1] if flip["id"] == video]
        assert change == flip["change"]
        assert classes == [
            flip["heads"][head][key] for head in ("noun", "verb") for key in ("label", "baseline", "run")
        ]
    many = [comparison[1][0] | {"id": f"{number}"} for number in range(FLIPS_LISTED + 7)]
    page = read((comparison[0], many))
    assert "7 more are in " in " ".join(page.text["p"])
    assert "No prediction changes." in " ".join(read((comparison[0], [])).text["p"])


def test_what_is_missing_is_said_at_the_top():
    comparison = two_files()
    comparison[0]["notes"].append("Videos are matched by their order.")
    first, second = [said for said in read(comparison).text["p"] if "Videos are" in said or "Not all" in said]
    assert "2 only in ours.npz, 2 only in theirs.pkl. All numbers are of the other 116." in first
    assert first in flat(comparison_text(comparison[0]))
    assert second == "Videos are matched by their order."
    assert "Not all videos" not in comparison_text(two_runs()[0])


def test_everything_from_outside_is_escaped():
    comparison = two_runs(names=HOSTILE)
    results = comparison[0]
    results["name"] = results["ours"]["path"] = results["ours"]["kind"] = HOSTILE
    results["notes"].append(HOSTILE)
    (entry,) = results["comparisons"]
    entry["run"] = entry["baseline"] = HOSTILE
    entry["scores"]["noun"]["video"] = HOSTILE
    entry["scores"]["verb"] = {"kind": None, "reason": HOSTILE}
    entry["metrics"][HOSTILE] = entry["metrics"]["action/top1"]
    entry["classes"][HOSTILE] = entry["classes"]["noun"]
    flips = [{**flip, "run": HOSTILE, "baseline": HOSTILE, "id": HOSTILE} for flip in comparison[1]]
    page = read((comparison[0], flips))
    assert len(page.of("script")) == 1
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
