import numpy as np
import pytest

from jax_vtm.comparison.lists import ListedLabels
from jax_vtm.comparison.matching import complete, match_heads, match_videos
from jax_vtm.comparison.predictions import Head, Predictions, head_from_scores
from jax_vtm.errors import UserError


def saved(ids, *, labels=None, scores=None, names=(), path="ours", head="label", predicted=None):
    count = len(ids) if ids is not None else len(labels if labels is not None else scores)
    if predicted is not None:
        values = Head(np.array(predicted), class_names=names)
    else:
        values = head_from_scores(
            path, np.zeros((count, 4)) if scores is None else np.array(scores, float), "logits", names
        )
    known = {} if labels is None else {head: np.array(labels)}
    return Predictions(path, "", None if ids is None else tuple(ids), known, {"run": {head: values}})


def heads(ours, theirs):
    return match_heads(ours, "run", theirs, "run", match_videos(ours, theirs))


def test_ids_are_matched_whatever_their_order_and_those_left_over_are_listed():
    match = match_videos(saved("abcd"), saved("dbx", path="theirs"))
    assert match.ids == ("b", "d")
    assert (match.ours.tolist(), match.theirs.tolist()) == ([1, 3], [1, 0])
    assert (match.only_ours, match.only_theirs, match.note) == (("a", "c"), ("x",), "")


def test_names_of_files_match_where_no_id_does():
    match = match_videos(saved(["a.mp4", "b.mp4", "c.mp4"]), saved(["/data/c.avi", "/data/a.avi", "/data/z"]))
    assert match.ids == ("a.mp4", "c.mp4")
    assert match.theirs.tolist() == [1, 0]
    assert (match.only_ours, match.only_theirs) == (("b.mp4",), ("/data/z",))
    assert "names of their files" in match.note
    with pytest.raises(UserError, match=r"no video in common: the first are 'x/a\.mp4', 'y/a\.mp4' and 'a'"):
        match_videos(saved(["x/a.mp4", "y/a.mp4"]), saved(["a"]))


def test_files_without_ids_match_by_order_only_if_labels_show_it():
    bare = saved(None, labels=[0, 1, 2], path="theirs.pkl")
    match = match_videos(saved("abc", labels=[0, 1, 2]), bare)
    assert match.ids == ("a", "b", "c")
    assert "by their order" in match.note
    assert match_videos(bare, bare).ids == ("row 0", "row 1", "row 2")
    for other in (saved("abc", labels=[0, 2, 1]), saved("abc"), saved("ab", labels=[0, 1])):
        with pytest.raises(UserError, match=r"theirs\.pkl does not say which videos .* --config\.compare\.labels=FILE"):
            match_videos(other, bare)
    with pytest.raises(UserError, match="By order 3 and 2 videos cannot be matched"):
        match_videos(bare, saved(None, labels=[0, 1]))


def test_a_list_gives_ids_or_labels():
    listed = ListedLabels("list", ("a", "b", "c"), {"label": np.array([0, 1, 2])})
    assert complete(saved(None, labels=[0, 1, 2]), listed).ids == ("a", "b", "c")
    bare = complete(saved(None, scores=np.zeros((3, 4))), listed)
    assert (bare.ids, bare.labels["label"].tolist()) == (("a", "b", "c"), [0, 1, 2])
    assert complete(saved("ca", head="action"), listed).labels["action"].tolist() == [2, 0]
    whole = saved("xy", labels=[3, 3])
    assert complete(whole, listed) is whole
    with pytest.raises(UserError, match="ours has 2 rows and list 3 videos"):
        complete(saved(None, labels=[0, 1]), listed)
    with pytest.raises(UserError, match=r"differ for 1 of 3 videos \(b is 3 and 1\)"):
        complete(saved(None, labels=[0, 3, 2]), listed)
    with pytest.raises(UserError, match="list: lacks 'x', of which ours has predictions"):
        complete(saved("ax"), listed)


SCORES = [[3, 1, 2], [1, 5, 0]]


def test_classes_go_by_name():
    ours = saved("ab", scores=SCORES, labels=[0, 1], names=("x", "y", "z"))
    theirs = saved("ba", scores=[[9, 8, 7], [6, 5, 4]], labels=[2, 1], names=("z", "x", "y"))
    one, other, labels = heads(ours, theirs)
    np.testing.assert_array_equal(one["label"].scores, SCORES)
    np.testing.assert_array_equal(other["label"].scores, [[5, 4, 6], [8, 7, 9]])
    assert other["label"].predicted.tolist() == [2, 2]
    assert other["label"].class_names == ("x", "y", "z")
    assert labels["label"].tolist() == [0, 1]


def test_classes_without_scores_need_only_be_known():
    ours = saved("ab", scores=SCORES, labels=[0, 1], names=("x", "y", "z"))
    for predicted, expected in (([1, 0], [2, 0]), ([-1, 0], [-1, 0])):
        _, other, _ = heads(ours, saved("ab", predicted=predicted, names=("x", "z")))
        assert other["label"].predicted.tolist() == expected


NAMED = saved("ab", scores=SCORES, labels=[0, 1], names=("x", "y", "z"))


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (NAMED, saved("ab", scores=SCORES, names=("x", "y", "w")), "other names: the first file lacks 'w'"),
        (NAMED, saved("ab", scores=np.zeros((2, 2)), names=("x", "y")), "other names: the second file lacks 'z'"),
        (NAMED, saved("ab", scores=np.zeros((2, 4))), "3 and 4 classes; expected as many"),
        (NAMED, saved("ab", scores=SCORES, labels=[0, 2]), r"differ for 1 of 2 videos \(b is 1 and 2\)"),
        (
            saved("ab", scores=SCORES),
            saved("ab", predicted=[0, 1], names=("x", "y")),
            "one has class names, the other indices",
        ),
        (saved("ab", scores=SCORES, labels=[0, 7]), saved("ab", scores=SCORES), "has labels up to 7, but 3 classes"),
        (
            saved("ab", scores=SCORES, names=("x", "y", "x")),
            saved("ab", scores=SCORES, names=("y", "x", "x")),
            "several classes have one name, in another order",
        ),
    ],
)
def test_classes_and_labels_that_differ_are_refused(ours, theirs, message):
    with pytest.raises(UserError, match=message):
        heads(ours, theirs)


def test_a_single_head_is_a_single_head_and_several_have_to_be_the_same():
    one, other, labels = heads(saved("ab", head="action"), saved("ba", labels=[1, 0]))
    assert (set(one), set(other), labels["action"].tolist()) == ({"action"}, {"action"}, [0, 1])
    two = saved("ab")
    two = Predictions(
        "two", "", two.ids, {}, {"run": {"noun": two.runs["run"]["label"], "verb": two.runs["run"]["label"]}}
    )
    with pytest.raises(UserError, match="ours has the heads label, two noun, verb; expected the same"):
        heads(saved("ab"), two)
