import csv
import io
import json
import os
import pathlib
import pickle
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.comparison.comparison import compare as compare_predictions
from jax_vtm.comparison.read import read_predictions
from jax_vtm.errors import UserError

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


def compare_files(folder, ours, theirs, *more):
    """Writes two files and compares them in their folder."""
    for name, content in (("ours.csv", ours), ("theirs.csv", theirs)):
        (folder / name).write_text(content)
    names = [f"--config.compare.{who}={folder / who}.csv" for who in ("ours", "theirs")]
    return compare(f"--workdir={folder}", *names, *more)


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
    files = "id,prediction\na,0\nb,1\nc,2\n", "id,0,1,2\nc,0,1,2\nb,3,2,0\na,5,0,0\n"
    assert compare_files(tmp_path, *files) == exit_codes.SUCCESS
    (entry,) = results_of(tmp_path)["comparisons"]
    assert (entry["metric"], entry["metrics"], entry["classes"]) == (None, {}, {})
    assert entry["agreement"] == pytest.approx(2 / 3)
    assert entry["scores"]["label"] == {"kind": None, "reason": "not both have scores"}
    (flip,) = rows_of(tmp_path / "compare" / "flips.csv")
    keys = ("id", "change", "run_prediction", "baseline_prediction")
    assert [flip[key] for key in keys] == ["b", "changed", "1", "0"]
    assert "66.7 % of predictions agree" in capsys.readouterr().out
    assert "Neither file has labels" in (tmp_path / "compare" / "report.html").read_text()

    (tmp_path / "list.csv").write_text("a 0\nb 1\nc 1\n")
    assert compare_files(tmp_path, *files, f"--config.compare.labels={tmp_path / 'list.csv'}") == exit_codes.SUCCESS
    (entry,) = results_of(tmp_path)["comparisons"]
    assert (entry["metric"], entry["difference"]) == ("label/top1", pytest.approx(1 / 3))
    assert entry["flips"] == {"lost": 0, "gained": 1, "changed": 0}

    assert compare_files(tmp_path, "id,0,1\na,0.5,2\nb,-1,1\n", "id,0,1\na,0.25,0.75\nb,0.5,0.5\n") == 0
    (entry,) = results_of(tmp_path)["comparisons"]
    assert entry["scores"]["label"]["reason"] == "one has logits, the other probabilities"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ours_run=merge"], "has no run 'merge'; its runs are 'unmerged', 'merge r=110'"),
        (["ours_run=unmerged"], "there is nothing to compare 'unmerged' with"),
        (["theirs_run=drop"], "has no run 'drop'"),
        (["theirs=OTHER"], ".* (unmerged, merge r=110) and .* (a, b) have no run of the same name"),
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


EPIC = ("verb", "noun")


def epic_dict(order):
    return {f"{head}_output": UNMERGED[head][order] for head in EPIC} | {"narration_id": np.array(IDS)[order]}


def epic_list(order):
    return [{key: values[place] for key, values in epic_dict(order).items()} for place in range(len(order))]


def epic_challenge(order):
    results = {}
    for place in order:
        scores = {head: {str(k): float(v) for k, v in enumerate(UNMERGED[head][place])} for head in EPIC}
        results[IDS[place]] = scores | {"action": {"0,1": 1.5}}
    return {"version": "0.2", "challenge": "action_recognition", "results": results}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("validation.pkl", lambda order: pickle.dumps(epic_dict(order))),
        ("objects.pkl", lambda order: pickle.dumps(epic_dict(order) | {"narration_id": np.array(IDS, object)[order]})),
        ("words.pkl", lambda order: pickle.dumps(epic_dict(order) | {"narration_id": [IDS[k] for k in order]}, 2)),
        ("validation_list.pkl", lambda order: pickle.dumps(epic_list(order))),
        ("test.json", lambda order: json.dumps(epic_challenge(order)).encode()),
    ],
)
def test_epic_kitchens_own_files_are_matched_by_narration_id(workdir, tmp_path, name, content):
    order = np.random.default_rng(0).permutation(VIDEOS)[:-3]
    (tmp_path / name).write_bytes(content(order))
    words = [
        f"--workdir={workdir}",
        f"--config.compare.theirs={tmp_path / name}",
        "--config.compare.allow_missing=True",
    ]
    assert compare(*words) == exit_codes.SUCCESS
    results = results_of(workdir)
    assert results["videos"] == {"compared": VIDEOS - 3, "only_ours": 3, "only_theirs": 0}
    unmerged, merged = results["comparisons"]
    assert unmerged["agreement"] == 1
    assert all(found["largest"] < 1e-6 for found in unmerged["scores"].values())
    assert merged["metrics"]["action/top1"]["only_baseline"] > 0


def test_names_in_csv_files_are_data(tmp_path):
    names = ["=1+1", "+a", "-a", "@a", "\ta", "a\x1b[31m\nb", "'=a", "-0.5", 'a,"b"']
    for who, predicted in (("ours", 0), ("theirs", 1)):
        np.savez(tmp_path / f"{who}.npz", ids=[*names, f"={who}"], logits=np.eye(2)[np.full(len(names) + 1, predicted)])
    words = [f"--workdir={tmp_path}"] + [f"--config.compare.{who}={tmp_path / who}.npz" for who in ("ours", "theirs")]
    assert compare(*words) == exit_codes.VIDEOS_MISSING
    found = ["'=1+1", "'+a", "'-a", "'@a", "\\ta", "a\\x1b[31m\\nb", "''=a", "-0.5", 'a,"b"']
    assert [row["id"] for row in rows_of(tmp_path / "compare" / "flips.csv")] == found
    assert [row["id"] for row in rows_of(tmp_path / "compare" / "missing.csv")] == ["'=ours", "'=theirs"]


def test_a_workdir_that_cannot_be_written_is_named(workdir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "compare").write_text("")
    for out in ("file", "full"):
        assert compare(f"--workdir={tmp_path / out}", f"--config.compare.ours={workdir}") == exit_codes.MISTAKE
        message = capsys.readouterr().err
        assert str(tmp_path / out) in message
        assert len(message.splitlines()) == 1


def mistake(capsys, path, *more) -> str:
    """The message with which a file of predictions is refused."""
    out = path.parent / "out"
    assert compare(f"--workdir={out}", f"--config.compare.ours={path}", f"--config.compare.theirs={path}", *more) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert not out.exists()
    return message


def shared_lists(count):
    """A pickle of a few hundred bytes that names one list several times, that one another several times, and so on."""
    memorised = [bytes([level]) for level in range(100)]
    return b"]q\0" + b"".join(b"0](" + count * (b"h" + last) + b"eq" + new for last, new in pairwise(memorised)) + b"."


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(size=(2, 3), **arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **({"logits": np.zeros(size)} if size else {}), **arrays)
    return file.getvalue()


def zip_bomb(name="logits.npy") -> bytes:
    """An archive that says that it unpacks to two gigabytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, bytes(100))
        archive.filelist[0].file_size = 2**31
    return file.getvalue()


def epic(ids, outputs=None):
    """EPIC-KITCHENS' results with two rows of scores, whatever the ids, or with other outputs."""
    outputs = np.zeros((2, 3)) if outputs is None else outputs
    return pickle.dumps({"narration_id": ids} | {f"{head}_output": outputs for head in EPIC})


def submitted(results):
    return json.dumps({"results": results}).encode()


ONE, OTHER = {"verb": {"0": 1}, "noun": {"0": 1}}, {"verb": {"1": 1}, "noun": {"0": 1}}
ROWS = [{"narration_id": k} | {f"{head}_output": np.zeros(3 + k) for head in EPIC} for k in range(2)]
HEADS = {f"scores/{head}": np.zeros((1, 25_000)) for head in EPIC}
HOSTILE = [
    ("x.pkl", pickle.dumps({"narration_id": ["a"], "verb_output": np.zeros((1, 97))}), "has no noun_output"),
    ("x.pkl", epic(["a", "a"]), "several predictions for one"),
    ("x.pkl", epic(["a"]), "the ids are of 1 videos"),
    ("x.pkl", epic(3), "the ids are of 0 videos"),
    ("x.pkl", epic(["a"], [1.0]), "`verb_output` is (float), expected numbers"),
    ("x.pkl", pickle.dumps([{"narration_id": "a"}]), "not every video is a dict of these"),
    ("x.pkl", pickle.dumps(ROWS), "`verb_output` that is not of one shape in every video"),
    ("x.json", submitted([]), "has no `results`"),
    ("x.json", submitted({"a": 5}), "'a' lacks verb scores"),
    ("x.json", submitted({"a": ONE, "b": OTHER}), "'b' lacks verb scores"),
    ("x.json", submitted({"a": ONE | {"noun": {"0": "1"}}}), "'a', noun 0: '1' is no number"),
    ("x.json", submitted({"a": {"verb": {}, "noun": {}}}), "is float64 [1, 0], expected numbers"),
    ("x.json", b'{"results": {"a": {"verb": {"0": ' + 5000 * b"9" + b"}}}}", "'a' lacks noun"),
    ("x.json", 100_000 * b"[", "is no JSON"),
    # Lists that are shared by ten and by two; a memo of 10^9; a text of 2^40 characters; a change of a function.
    ("x.pkl", shared_lists(10), "holds list"),
    ("x.pkl", shared_lists(2), "holds ((list, list), (list, list))"),
    ("x.pkl", b"]r\xff\xff\xff\x3f.", "is no pickle of arrays, or is damaged"),
    ("x.pkl", b"\x8d" + (2**40).to_bytes(8, "little") + b"x.", "is damaged"),
    ("x.pkl", b"cnumpy\ndtype\nN}X\x01\x00\x00\x00aNs\x86b.", "a change of a function"),
    ("x.pt", zip_bomb("x/data.pkl"), "its entries are compressed, which PyTorch never does"),
    ("x.csv", b"id,prediction\na,1\nb,999999999\n", "'999999999' is not a class"),
    ("x.csv", b"id,label,prediction\na,999999999,1\n", "'999999999' is not a class"),
    ("x.csv", b"id,prediction\na," + 5000 * b"9", "is not a class"),
    ("x.csv", b"id,0," + 5000 * b"9" + b"\na,1,2\n", "expected each index"),
    ("x.npz", zip_bomb(), "unpacked, it has 2048 MiB"),
    ("x.npz", npy(np.zeros((3, 2))), "is damaged, or no .npz file"),
    ("x.npz", npz((3, 0)), "`logits` is float64 [3, 0]"),
    ("x.npz", npz((0, 3)), "`logits` is float64 [0, 3]"),
    ("x.npz", npz((3, 0, 2)), "`logits` is float64 [3, 0, 2]"),
    ("x.npz", npz((1, 200_000)), "at most 100000 are compared"),
    ("x.npz", npz((), **HEADS), "25000 x 25000 classes have more than"),
    ("x.npz", npz(labels=np.array([0, 10**9])), "go up to 1000000000"),
    ("x.npz", npz(labels=np.zeros(2, "M8[s]")), "expected whole numbers"),
    ("x.npz", npz(ids=np.array([["a", "b"]] * 2)), "expected text [n]"),
    ("x.npz", npz((1, 3), ids=np.array([b"\xff"])), "are no UTF-8 text"),
]


@pytest.mark.parametrize(("name", "content", "message"), HOSTILE, ids=[message for *_, message in HOSTILE])
def test_hostile_predictions_are_refused_in_one_sentence(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    said = mistake(capsys, tmp_path / name)
    assert str(tmp_path / name) in said
    assert message in said


@pytest.mark.parametrize("name", ["x.npz", "x.csv", "x.pkl", "x.json", "predictions.npz"])
def test_a_named_pipe_is_not_waited_for(tmp_path, capsys, name):
    os.mkfifo(tmp_path / name)
    assert "is a named pipe, expected a regular file" in mistake(capsys, tmp_path / name)
    (tmp_path / "ours.csv").write_text("id,prediction\na,1\n")
    labels = f"--config.compare.labels={tmp_path / name}"
    assert "is a named pipe" in mistake(capsys, tmp_path / "ours.csv", labels)


RESULTS = {
    "protocol": {"view_average": "logits"},
    "runs": [{"name": "unmerged", "classes": {"verb": [{"name": str(k)} for k in range(8)]}}],
}


def structural_changes(value, path=()):
    """Every place of a JSON value, with each of a few values of another kind put there."""
    for other in (None, 5, "x", [1], {"a": 1}, [], [[{}]], True):
        yield path, other
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from structural_changes(one, (*path, key))


def changed(value, path, other):
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], other)
    return copy


def test_results_json_of_another_structure_is_refused_or_does_not_matter(workdir):
    read, refused = 0, []
    for path, other in structural_changes(RESULTS):
        (workdir / "results.json").write_text(json.dumps(changed(RESULTS, path, other)))
        try:
            read += len(compare_predictions(read_predictions(workdir), None)[0]["comparisons"])
        except UserError as error:
            refused.append(str(error))
    assert read > 10
    assert len(refused) > 30
    assert all(str(workdir) in message for message in refused)
