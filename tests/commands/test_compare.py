import csv
import json
import os
import pathlib
import pickle

import numpy as np
import pytest
import scipy.stats
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm.running import exit_codes

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT = ROOT / "configs" / "moving_digits.py"
CLASSES = {"noun": 10, "verb": 8}
VIDEOS = 300
IDS = [f"{number:03d}.mp4" for number in range(VIDEOS)]


def made_up_run(seed, noise):
    """Logits that are right more often than not, of one view, and the labels."""
    labels = {head: np.random.default_rng(1).integers(count, size=VIDEOS) for head, count in CLASSES.items()}
    logits = {}
    for head, count in CLASSES.items():
        common = np.random.default_rng(2).normal(size=(VIDEOS, count)) + 3 * np.eye(count)[labels[head]]
        logits[head] = (common + noise * np.random.default_rng(seed).normal(size=common.shape)).astype(np.float32)
    return logits, labels


UNMERGED, LABELS = made_up_run(3, 0.0)
MERGED, _ = made_up_run(4, 0.8)


def write_npz(path, runs, ids=IDS, rows=slice(None)):
    """As the evaluate command writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"labels/{head}": values[rows] for head, values in LABELS.items()}
    for name, logits in runs.items():
        arrays |= {f"{name}/logits/{head}": values[rows][:, None] for head, values in logits.items()}
    np.savez(path, ids=np.array(ids)[rows], **arrays)


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    write_npz(folder / "predictions.npz", {"unmerged": UNMERGED, "merge r=110": MERGED})
    names = {head: [{"name": f"{head} {index}"} for index in range(count)] for head, count in CLASSES.items()}
    runs = [{"name": name, "classes": names} for name in ("unmerged", "merge r=110")]
    (folder / "results.json").write_text(json.dumps({"protocol": {"view_average": "logits"}, "runs": runs}))
    (folder / "report.html").write_text("the evaluation's")
    return folder


def compare(*words):
    return cli.run(["main.py", "compare", *(str(word) for word in words)], DEFAULT)


def results_of(folder):
    return json.loads((folder / "compare" / "compare.json").read_text())


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_runs_of_a_workdir_are_compared_with_the_first(workdir, capsys):
    assert compare(f"--workdir={workdir}") == exit_codes.SUCCESS
    results = results_of(workdir)
    (entry,) = results["comparisons"]
    assert (entry["run"], entry["baseline"], entry["metric"]) == ("merge r=110", "unmerged", "action/top1")

    right = {}
    for name, logits in (("run", MERGED), ("baseline", UNMERGED)):
        right[name] = np.all([logits[head].argmax(-1) == LABELS[head] for head in CLASSES], axis=0)
        assert entry["metrics"]["action/top1"][name]["correct"] == right[name].sum()
    metric = entry["metrics"]["action/top1"]
    gained, lost = int(np.sum(right["run"] & ~right["baseline"])), int(np.sum(~right["run"] & right["baseline"]))
    assert lost > gained > 0
    assert (metric["only_run"], metric["only_baseline"]) == (gained, lost)
    assert metric["mcnemar_p"] == pytest.approx(scipy.stats.binomtest(gained, gained + lost).pvalue)
    assert entry["difference"] == metric["difference"] == pytest.approx((gained - lost) / VIDEOS)
    assert metric["low"] < metric["difference"] < metric["high"]
    wilson = scipy.stats.binomtest(int(right["run"].sum()), VIDEOS).proportion_ci(method="wilson")
    assert (metric["run"]["low"], metric["run"]["high"]) == (pytest.approx(wilson.low), pytest.approx(wilson.high))

    same = np.all([MERGED[head].argmax(-1) == UNMERGED[head].argmax(-1) for head in CLASSES], axis=0)
    assert entry["agreement"] == pytest.approx(same.mean())
    for head in CLASSES:
        apart = np.abs(MERGED[head].astype(float) - UNMERGED[head])
        assert entry["scores"][head]["mean"] == pytest.approx(apart.mean())
        assert entry["scores"][head]["largest"] == pytest.approx(apart.max())
        assert entry["scores"][head]["video"] == IDS[apart.max(axis=1).argmax()]
        for row, baseline in zip(entry["classes"][head]["run"], entry["classes"][head]["baseline"], strict=True):
            of_class = LABELS[head] == row["class"]
            assert row["count"] == baseline["count"] == of_class.sum()
            assert row["correct"] == np.sum(of_class & (MERGED[head].argmax(-1) == LABELS[head]))
            assert baseline["correct"] == np.sum(of_class & (UNMERGED[head].argmax(-1) == LABELS[head]))

    flips = rows_of(workdir / "compare" / "flips.csv")
    assert {row["id"] for row in flips} == {IDS[place] for place in np.flatnonzero(~same)}
    assert {row["id"] for row in flips if row["change"] == "lost"} == {
        IDS[place] for place in np.flatnonzero(right["baseline"] & ~right["run"])
    }
    for row in flips:
        place = IDS.index(row["id"])
        assert row["label"] == f"{row['head']} {LABELS[row['head']][place]}"
        assert row["run_prediction"] == f"{row['head']} {MERGED[row['head']][place].argmax()}"
        assert row["baseline_prediction"] == f"{row['head']} {UNMERGED[row['head']][place].argmax()}"
    assert entry["flips"] == {
        kind: len({row["id"] for row in flips if row["change"] == kind}) for kind in ("lost", "gained", "changed")
    }

    printed = capsys.readouterr().out
    assert "merge r=110 against unmerged: action accuracy changes by" in " ".join(printed.split())
    page = (workdir / "compare" / "report.html").read_text()
    assert flips[0]["id"] in page
    assert (workdir / "report.html").read_text() == "the evaluation's"
    again = (workdir / "compare" / "compare.json").read_bytes()
    compare(f"--workdir={workdir}")
    assert (workdir / "compare" / "compare.json").read_bytes() == again


def test_videos_in_only_one_are_listed_and_end_with_three(workdir, tmp_path, capsys):
    other = tmp_path / "other" / "predictions.npz"
    write_npz(other, {"unmerged": UNMERGED}, rows=slice(7, None))
    words = [f"--workdir={tmp_path / 'out'}", f"--config.compare.ours={workdir}", f"--config.compare.theirs={other}"]
    assert compare(*words) == exit_codes.VIDEOS_MISSING == 3
    printed = capsys.readouterr()
    assert "only in ours: 000.mp4, 001.mp4, 002.mp4, 003.mp4, 004.mp4 and 2 more" in printed.err
    assert "error: 7 videos are in only one of the two" in printed.err
    missing = tmp_path / "out" / "compare" / "missing.csv"
    assert rows_of(missing) == [{"id": video, "only_in": "ours"} for video in IDS[:7]]
    results = results_of(tmp_path / "out")
    assert results["videos"] == {"compared": VIDEOS - 7, "only_ours": 7, "only_theirs": 0}
    assert "7 only in" in (tmp_path / "out" / "compare" / "report.html").read_text().partition("<main>")[0]
    # Both runs against the only one of the other file; the names that are the same say where they are from.
    first, second = results["comparisons"]
    assert first["run"] == f"unmerged ({workdir / 'predictions.npz'})"
    assert first["baseline"] == f"unmerged ({other})"
    assert (first["agreement"], first["flips"]) == (1.0, {"lost": 0, "gained": 0, "changed": 0})
    assert second["run"] == "merge r=110"

    assert compare(*words, "--config.compare.allow_missing=True") == exit_codes.SUCCESS
    write_npz(other, {"unmerged": UNMERGED})
    assert compare(*words) == exit_codes.SUCCESS
    assert not missing.exists()


def test_ours_is_compared_with_a_pickle_of_the_reference_and_its_list(workdir, tmp_path):
    order = np.random.default_rng(0).permutation(VIDEOS)
    content = [
        tuple(UNMERGED[head][order] for head in ("verb", "noun")),
        tuple(LABELS[head][order] for head in ("verb", "noun")),
    ]
    (tmp_path / "saved.pkl").write_bytes(pickle.dumps(content))
    rows = [f"{IDS[place]},{LABELS['noun'][place]},{LABELS['verb'][place]}" for place in order]
    (tmp_path / "list.csv").write_text("\n".join(["video,noun,verb", *rows]))
    words = [f"--workdir={workdir}", f"--config.compare.theirs={tmp_path / 'saved.pkl'}"]
    assert compare(*words) == exit_codes.MISTAKE
    assert compare(*words, f"--config.compare.labels={tmp_path / 'list.csv'}") == exit_codes.SUCCESS
    unmerged, merged = results_of(workdir)["comparisons"]
    assert (unmerged["run"], unmerged["baseline"]) == ("unmerged", "saved.pkl")
    assert unmerged["agreement"] == 1
    assert all(found["largest"] == 0 for found in unmerged["scores"].values())
    assert merged["metrics"]["action/top1"]["only_baseline"] > 0


def test_a_tampered_pickle_is_refused_and_does_not_run(workdir, tmp_path, capsys):
    class Tampered:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "it ran"),))

    (tmp_path / "saved.pkl").write_bytes(pickle.dumps([np.zeros((3, 2)), Tampered()]))
    assert compare(f"--workdir={workdir}", f"--config.compare.theirs={tmp_path / 'saved.pkl'}") == exit_codes.MISTAKE
    assert "refused, because the file asks for posix.mkdir" in capsys.readouterr().err
    assert not (tmp_path / "it ran").exists()
    assert not (workdir / "compare").exists()


def test_only_predicted_classes_and_no_labels(tmp_path, capsys):
    (tmp_path / "ours.csv").write_text("id,prediction\na,0\nb,1\nc,2\n")
    (tmp_path / "theirs.csv").write_text("id,0,1,2\nc,0,1,2\nb,3,2,0\na,5,0,0\n")
    words = [f"--workdir={tmp_path}"] + [f"--config.compare.{who}={tmp_path / who}.csv" for who in ("ours", "theirs")]
    assert compare(*words) == exit_codes.SUCCESS
    (entry,) = results_of(tmp_path)["comparisons"]
    assert (entry["metric"], entry["metrics"], entry["classes"]) == (None, {}, {})
    assert entry["agreement"] == pytest.approx(2 / 3)
    assert entry["scores"]["label"] == {"kind": None, "reason": "not both have scores"}
    (flip,) = rows_of(tmp_path / "compare" / "flips.csv")
    assert (flip["id"], flip["change"], flip["run_prediction"], flip["baseline_prediction"]) == (
        "b",
        "changed",
        "1",
        "0",
    )
    assert "66.7 % of predictions agree" in capsys.readouterr().out
    assert "Neither file has labels" in (tmp_path / "compare" / "report.html").read_text()

    (tmp_path / "list.csv").write_text("a 0\nb 1\nc 1\n")
    assert compare(*words, f"--config.compare.labels={tmp_path / 'list.csv'}") == exit_codes.SUCCESS
    (entry,) = results_of(tmp_path)["comparisons"]
    assert (entry["metric"], entry["difference"]) == ("label/top1", pytest.approx(1 / 3))
    assert entry["flips"] == {"lost": 0, "gained": 1, "changed": 0}


def test_logits_are_not_compared_with_probabilities(tmp_path):
    (tmp_path / "ours.csv").write_text("id,0,1\na,0.5,2\nb,-1,1\n")
    (tmp_path / "theirs.csv").write_text("id,0,1\na,0.25,0.75\nb,0.5,0.5\n")
    words = [f"--workdir={tmp_path}"] + [f"--config.compare.{who}={tmp_path / who}.csv" for who in ("ours", "theirs")]
    assert compare(*words) == exit_codes.SUCCESS
    (entry,) = results_of(tmp_path)["comparisons"]
    assert entry["scores"]["label"]["reason"] == "one has logits, the other probabilities"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ours_run=merge"], "has no run 'merge'; its runs are 'unmerged', 'merge r=110'"),
        (["ours_run=unmerged"], "there is nothing to compare 'unmerged' with"),
        (["theirs_run=drop"], "has no run 'drop'"),
        (["theirs=OTHER"], "no run of .* (unmerged, merge r=110) is called as one of .* (a, b)"),
        (["ours=nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_mistakes_are_explained(workdir, tmp_path, capsys, words, message):
    other = tmp_path / "other.npz"
    write_npz(other, {"a": UNMERGED, "b": MERGED})
    flags = [f"--config.compare.{word.replace('OTHER', str(other))}" for word in words]
    assert compare(f"--workdir={workdir}", *flags) == exit_codes.MISTAKE
    parts = message.split(".*")
    said = capsys.readouterr().err
    assert all(part.strip() in said for part in parts)


def test_chosen_runs_are_compared(workdir, tmp_path):
    words = ["--config.compare.ours_run=unmerged", "--config.compare.theirs_run=merge r=110"]
    assert compare(f"--workdir={workdir}", *words) == exit_codes.SUCCESS
    (entry,) = results_of(workdir)["comparisons"]
    assert (entry["run"], entry["baseline"]) == ("unmerged", "merge r=110")
    assert entry["difference"] > 0
    assert compare(f"--workdir={workdir}", f"--config.compare.theirs={workdir}") == exit_codes.SUCCESS
    assert [entry["agreement"] for entry in results_of(workdir)["comparisons"]] == [1, 1]


def test_what_evaluate_writes_is_what_compare_reads(tmp_path):
    write_videos(tmp_path / "videos", 9)
    config = write_config(tmp_path, tmp_path / "videos")
    workdir = tmp_path / "run"
    assert cli.run(["main.py", f"--config={config}", f"--workdir={workdir}"], DEFAULT) == exit_codes.SUCCESS
    assert cli.run(["main.py", "compare", f"--config={config}", f"--workdir={workdir}"], DEFAULT) == exit_codes.SUCCESS
    evaluated, (entry,) = json.loads((workdir / "results.json").read_text()), results_of(workdir)["comparisons"]
    (comparison,) = evaluated["comparison"]
    assert {entry[key] == comparison[key] for key in ("run", "baseline", "metric", "agreement")} == {True}
    assert entry["difference"] == pytest.approx(comparison["difference"])
    for run, which in zip(evaluated["runs"], ("baseline", "run"), strict=True):
        assert {name: metric[which] for name, metric in entry["metrics"].items()} == run["metrics"]
        assert {head: counts[which] for head, counts in entry["classes"].items()} == run["classes"]
