import io
import json
import pickle

import numpy as np
import pytest
from etils import epath

from jax_vtm.comparison.lists import read_list
from jax_vtm.comparison.read import read_predictions
from jax_vtm.errors import UserError


@pytest.fixture
def evaluation(tmp_path):
    """A workdir with two runs of two views, and the arrays behind it."""
    rng = np.random.default_rng(0)
    arrays = {"ids": np.array(["a.mp4", "b.mp4", "c.mp4"]), "labels/verb": np.array([0, 1, 1])}
    for run in ("unmerged", "merge r=[3, 2]"):
        arrays[f"{run}/logits/verb"] = rng.normal(size=(3, 2, 4)).astype(np.float32)
    np.savez(tmp_path / "predictions.npz", **arrays)
    return tmp_path, arrays


def write_results(folder, how):
    names = [{"name": name} for name in "wxyz"]
    runs = [{"name": "unmerged", "classes": {"verb": names}}, {"name": "merge r=[3, 2]", "classes": {}}]
    (folder / "results.json").write_text(json.dumps({"protocol": {"view_average": how}, "runs": runs}))


@pytest.mark.parametrize("how", ["logits", "max", "softmax", None])
def test_a_workdir_has_its_runs_with_views_combined_as_its_results_say(evaluation, how):
    folder, arrays = evaluation
    if how:
        write_results(folder, how)
    saved = read_predictions(folder)
    assert saved.ids == ("a.mp4", "b.mp4", "c.mp4")
    assert list(saved.runs) == ["unmerged", "merge r=[3, 2]"]
    assert saved.labels["verb"].tolist() == [0, 1, 1]
    for run in saved.runs:
        views, head = arrays[f"{run}/logits/verb"].astype(np.float64), saved.runs[run]["verb"]
        views = np.exp(views) / np.exp(views).sum(axis=-1, keepdims=True) if how == "softmax" else views
        expected = views.max(axis=1) if how == "max" else views.mean(axis=1)
        np.testing.assert_allclose(head.scores, expected, rtol=1e-5)
        np.testing.assert_array_equal(head.predicted, expected.argmax(axis=-1))
        assert head.kind == ("probabilities" if how == "softmax" else "logits")
    assert saved.runs["unmerged"]["verb"].class_names == (("w", "x", "y", "z") if how else ())
    assert saved.runs["merge r=[3, 2]"]["verb"].class_names == ()
    assert ["no results.json next to it" in note for note in saved.notes] == [True] * (how is None)


def test_anybodys_npz(tmp_path):
    rng = np.random.default_rng(0)
    logits, probabilities = rng.normal(size=(3, 2, 5)), rng.dirichlet(np.ones(5), size=7)
    np.savez(tmp_path / "x.npz", ids=["a", "b", "c"], labels=[1, 2, 3], logits=logits)
    saved = read_predictions(tmp_path / "x.npz")
    assert list(saved.runs) == ["x.npz"]
    np.testing.assert_allclose(saved.runs["x.npz"]["label"].scores, logits.mean(axis=1))
    assert saved.labels["label"].tolist() == [1, 2, 3]
    np.savez(tmp_path / "two.npz", **{"scores/verb": logits[:, 0], "scores/noun": logits[:, 1]})
    saved = read_predictions(tmp_path / "two.npz")
    assert (saved.ids, saved.labels, set(saved.runs["two.npz"])) == (None, {}, {"verb", "noun"})
    # Probabilities show in the scores, also as a sum over views.
    for scores, kind in ((probabilities, "probabilities"), (3 * probabilities, "probabilities"), (logits[0], "logits")):
        np.savez(tmp_path / "x.npz", scores=scores.astype(np.float32))
        head = read_predictions(tmp_path / "x.npz").runs["x.npz"]["label"]
        assert head.kind == kind
        np.testing.assert_allclose(head.scores, probabilities if kind == "probabilities" else scores, rtol=1e-5)


def pickled(content):
    return "x.pkl", pickle.dumps(content)


def arrays(**content):
    file = io.BytesIO()
    np.savez(file, **content)
    return "x.npz", file.getvalue()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (arrays(x=np.zeros(3)), r"has the arrays x; expected `ids`, `labels` and `logits`"),
        (arrays(logits=np.zeros(3)), r"`logits` is float64 \[3\], expected numbers \[n, classes\]"),
        (arrays(logits=np.zeros((3, 2)), labels=np.zeros(3)), r"are float64 \[3\], expected whole numbers"),
        (arrays(logits=np.zeros((3, 2)), labels=np.zeros(2, int)), r"the labels of 'label' are of 2 videos, .* of 3"),
        (arrays(logits=np.zeros((3, 2)), labels=np.array([0, -1, 0])), r"go down to -1, expected classes from 0"),
        (arrays(logits=np.zeros((3, 2)), ids=["a", "b", "a"]), r"several predictions for one video: a"),
        (arrays(logits=np.zeros((3, 2)), ids=np.array(["a", None, 3], object)), r"no \.npz file of plain arrays"),
        (("x.csv", b"id,prediction,0,1\na,1,2,3\n"), "either prediction or a column of scores for each class"),
        (("x.csv", b"id,label\na,1\n"), "either prediction or a column of scores for each class"),
        (("x.csv", b"video,prediction\na,1\n"), r"no column 'id' in the header"),
        (("x.csv", b"id,prediction\n"), "has no rows"),
        (("x.csv", b"id,0,2\na,1,2\n"), "classes are 0 to 2, 2 of them; expected each index from 0 to 1 once"),
        (("x.csv", b"id,0,1\na,1,many\n"), r"line 2, column '1': 'many' is not a number"),
        (("x.csv", b"id,0,1\na,1,2\na,1,2\n"), r"line 3: 'a' stands in line 2 already"),
        (("x.csv", b"id,0,1,label\na,1,2,2\n"), r"line 2, column 'label': '2' is not a class, expected an index 0..1"),
        (pickled({"a": np.zeros(3)}), r"holds dict; expected \[predictions, labels\]"),
        (pickled([np.zeros((3, 2)), np.zeros(3)]), r"holds \(float64 \[3, 2\], float64 \[3\]\); expected"),
        (pickled([np.zeros((3, 2)), np.zeros(4, int)]), r"holds \(float64 \[3, 2\], int64 \[4\]\); expected"),
        (pickled([np.zeros((3, 2)), (np.zeros(3, int),) * 2]), r"\(float64 \[3, 2\], \(int64 \[3\], int64 \[3\]\)\);"),
        (pickled([np.zeros((3, 2)), "x"]), r"holds \(float64 \[3, 2\], str\); expected"),
        (("x.txt", b""), r"the suffix '\.txt' is unknown; .*\.npz, \.csv, \.json, \.pkl"),
    ],
)
def test_files_that_are_wrong_are_refused(tmp_path, file, message):
    (tmp_path / file[0]).write_bytes(file[1])
    with pytest.raises(UserError, match=message):
        read_predictions(tmp_path / file[0])


def test_a_csv_of_predictions_by_index_and_by_name(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,label,prediction\na,0,2\nb,1,1\n")
    saved = read_predictions(path)
    head = saved.runs["x.csv"]["label"]
    assert (saved.ids, saved.labels["label"].tolist(), head.predicted.tolist()) == (("a", "b"), [0, 1], [2, 1])
    assert (head.scores, head.class_names) == (None, ())
    path.write_text("prediction,id,label\nrun,a,fly\nwalk,b,walk\n")
    saved = read_predictions(path)
    head = saved.runs["x.csv"]["label"]
    assert head.class_names == ("fly", "run", "walk")
    assert (head.predicted.tolist(), saved.labels["label"].tolist()) == ([1, 2], [0, 2])


def test_a_csv_of_scores_by_index_and_by_name(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,1,0,2\na,0.5,-1,2\nb,3,0,1e-3\n")
    head = read_predictions(path).runs["x.csv"]["label"]
    np.testing.assert_array_equal(head.scores, [[-1, 0.5, 2], [0, 3, 1e-3]])
    assert (head.predicted.tolist(), head.kind, head.class_names) == ([2, 1], "logits", ())
    path.write_text("id,run,fly,label\na,0.25,0.75,fly\nb,1,0,run\n")
    saved = read_predictions(path)
    head = saved.runs["x.csv"]["label"]
    assert (head.class_names, head.kind) == (("run", "fly"), "probabilities")
    assert (head.predicted.tolist(), saved.labels["label"].tolist()) == ([1, 0], [1, 0])


def test_the_references_pickles(golden, tmp_path):
    folder = golden / "torch" / "saved_results"
    expected = np.load(folder / "expected.npz")
    saved = read_predictions(folder / "pickle_dump.pkl")
    np.testing.assert_array_equal(saved.runs["pickle_dump.pkl"]["label"].scores, expected["preds"])
    np.testing.assert_array_equal(saved.labels["label"], expected["labels"])
    assert saved.ids is None
    assert "adds up the logits" in saved.notes[0]
    saved = read_predictions(folder / "pickle_dump_epic.pkl")
    for head in ("verb", "noun"):
        np.testing.assert_array_equal(saved.runs["pickle_dump_epic.pkl"][head].scores, expected[head])
        np.testing.assert_array_equal(saved.labels[head], expected[f"{head}_labels"])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=5).astype(np.float32)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([30 * probabilities, np.arange(5) % 4]))
    saved = read_predictions(tmp_path / "x.pkl")
    np.testing.assert_allclose(saved.runs["x.pkl"]["label"].scores, probabilities, rtol=1e-5)
    assert saved.notes == ()


def test_paths_that_are_no_predictions(tmp_path):
    with pytest.raises(UserError, match="there is no such file or folder"):
        read_predictions(tmp_path / "none.npz")
    with pytest.raises(UserError, match=r"has no predictions\.npz; evaluate writes one"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "video,noun,verb\na.mp4,1,2\nb.mp4,3,4\n", {"noun": [1, 3], "verb": [2, 4]}),
        ("x.csv", "/data/a.mp4 1\n/data/b c.mp4 3\n", {"label": [1, 3]}),
        ("x.txt", "a.mp4,1\n\nb.mp4,3\n", {"label": [1, 3]}),
        ("x.csv", "narration_id,verb,verb_class,noun_class\na,take,2,1\nb,put,4,3\n", {"noun": [1, 3], "verb": [2, 4]}),
        ("x.json", '[{"id": "a", "label": "x"}, {"id": "b"}]', {}),
        ("x.csv", "a.mp4\nb.mp4\n", r"line 1: 'a.mp4' is no path and class index"),
        ("x.csv", "", "the list is empty"),
        ("x.json", '{"a": 1}', "is no JSON list of entries with an 'id'"),
    ],
)
def test_lists_of_videos(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    if isinstance(said, str):
        with pytest.raises(UserError, match=said):
            read_list(epath.Path(tmp_path / name))
        return
    listed = read_list(epath.Path(tmp_path / name))
    assert len(listed.ids) == 2
    assert listed.ids[0] in ("a", "a.mp4", "/data/a.mp4")
    assert {head: values.tolist() for head, values in listed.labels.items()} == said
