import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_vtm.errors import UserError
from jax_vtm.studies.splicing import DONOR_KINDS, choose_donors, choose_starts, splice

CLASSES = st.lists(st.sampled_from("abc"), min_size=2, max_size=30)


@settings(deadline=None)
@given(CLASSES, st.integers(0, 5), st.sampled_from(DONOR_KINDS))
def test_donors_are_others_of_the_right_class(classes, seed, kind):
    sizes = {name: classes.count(name) for name in classes}
    possible = {"random": True, "same_class": min(sizes.values()) > 1, "different_class": len(sizes) > 1}[kind]
    if not possible:
        with pytest.raises(UserError, match="a splice with"):
            choose_donors(classes, kind, seed)
        return
    donors = choose_donors(classes, kind, seed)
    for host, donor in enumerate(donors):
        assert 0 <= donor < len(classes)
        assert donor != host
        if kind != "random":
            assert (classes[donor] == classes[host]) == (kind == "same_class")
    np.testing.assert_array_equal(choose_donors(classes, kind, seed), donors)


def test_every_other_video_gets_its_turn_and_seeds_differ():
    drawn = np.array([choose_donors(["a", "a", "b", "b", "b"], "different_class", seed) for seed in range(40)])
    assert [set(column) for column in drawn.T] == [{2, 3, 4}, {2, 3, 4}, {0, 1}, {0, 1}, {0, 1}]
    shares = np.mean(drawn[:, 2] == 0)
    assert 0.25 < shares < 0.75


def test_a_video_that_cannot_be_read_neither_gives_nor_gets():
    classes = ["a", None, "a", "b", "b"]
    for kind in DONOR_KINDS:
        donors = np.array([choose_donors(classes, kind, seed) for seed in range(20)])
        assert set(donors[:, 1]) == {-1}
        assert 1 not in donors


def test_who_has_no_donor_is_named():
    with pytest.raises(UserError, match=r"there is one alone of verb left; verb up\. Take other donors"):
        choose_donors(["verb up", "verb left", "verb down", "verb down"][1::-1] + ["verb down"] * 2, "same_class", 0)
    with pytest.raises(UserError, match="n0; n1; n2; n3; n4 and 2 more"):
        choose_donors([f"n{i}" for i in range(7)], "same_class", 0)
    with pytest.raises(UserError, match="all videos are of the class verb up"):
        choose_donors(["verb up"] * 3, "different_class", 0)
    with pytest.raises(UserError, match="a single video that can be read"):
        choose_donors(["verb up", None], "random", 0)


@given(st.integers(1, 10).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_a_splice_begins_where_it_fits_and_the_last_tubelet_is_not_spared(sizes):
    tubelets, length = sizes
    starts = choose_starts(200, tubelets, length, 0)
    assert set(starts) == set(range(tubelets - length + 1))


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 2), st.data())
def test_splicing_takes_whole_tubelets_and_nothing_else(depth, tubelets, rest, data):
    shape = (2, 1, depth * tubelets + rest, 2, 3, 3)
    rng = np.random.default_rng(0)
    host, donor = (rng.integers(256, size=shape, dtype=np.uint8) for _ in range(2))
    length = data.draw(st.integers(0, tubelets))
    starts = np.array(data.draw(st.lists(st.integers(0, tubelets - length), min_size=2, max_size=2)))
    spliced = splice(host, donor, starts, length, depth)
    assert (spliced.dtype, spliced.shape) == (host.dtype, host.shape)
    for clip in range(2):
        first, last = depth * starts[clip], depth * (starts[clip] + length)
        np.testing.assert_array_equal(spliced[clip, :, first:last], donor[clip, :, first:last])
        np.testing.assert_array_equal(spliced[clip, :, :first], host[clip, :, :first])
        np.testing.assert_array_equal(spliced[clip, :, last:], host[clip, :, last:])
    np.testing.assert_array_equal(splice(host, donor, starts, 0, depth), host)
    whole = splice(host, donor, np.zeros(2, int), tubelets, depth)
    np.testing.assert_array_equal(whole[:, :, : depth * tubelets], donor[:, :, : depth * tubelets])
