"""Reduction before the first layer: which patches stay, what they stand for, and what models make of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import QUICK
from tiny_models import FRAMES, PLACES, random_params, tiny, tiny_factorised, variables, video

from jax_vtm import InputReduction, Reduction, UserError
from jax_vtm.merging import keep_patches
from jax_vtm.merging.schedule import INPUT_CHOICES
from jax_vtm.models.patch_groups import patch_groups

GRID = (4, 2, 3)


@functools.partial(jax.jit, static_argnums=0)
def kept(reduction, patches, key):
    return keep_patches(reduction, patches, key)


@given(
    keep=st.sampled_from([6, 7, 15, 24]),
    by=st.sampled_from(INPUT_CHOICES),
    seed=st.integers(0, 2**16),
    ties=st.booleans(),
)
def test_every_patch_joins_the_last_one_kept_before_it(keep, by, seed, ties):
    rng = np.random.default_rng(seed)
    # Small whole numbers differ by equal amounts, and often by nothing.
    patches = rng.integers(0, 2, (2, *GRID, 2)) if ties else rng.normal(size=(2, *GRID, 2))
    patches = patches.astype(np.float32)
    found, runs = kept(InputReduction(keep, by), patches, jax.random.key(seed))
    change = np.abs(np.diff(patches, axis=1)).mean(-1).reshape(2, -1)
    for clip in range(2):
        places, size, membership = (np.asarray(part)[clip] for part in (runs.places, runs.size, runs.membership))
        assert len(places) == keep
        assert (np.diff(places) > 0).all()
        np.testing.assert_array_equal(places[:6], range(6))
        np.testing.assert_array_equal(found[clip], patches[clip].reshape(24, 2)[places])
        np.testing.assert_array_equal(size, np.bincount(membership, minlength=keep))
        assert size.sum() == 24
        for patch, token in enumerate(membership):
            before = [place for place in places if place <= patch and place % 6 == patch % 6]
            assert places[token] == before[-1]
        if by == "run_length":
            expected = np.argsort(-change[clip], kind="stable")[: keep - 6] + 6
            np.testing.assert_array_equal(places[6:], np.sort(expected))


def test_evenly_spaced_patches_are_of_all_places_and_times():
    _, runs = kept(InputReduction(6 + 9, "uniform"), np.zeros((1, *GRID, 1), np.float32), None)
    steps, places = np.divmod(np.asarray(runs.places)[0, 6:], 6)
    assert set(places) == set(range(6))
    np.testing.assert_array_equal(np.bincount(steps)[1:], 3)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def jitted(model, variables, clips):
    return model.apply(variables, clips, trace=True, features=True, rngs={"reduction": jax.random.key(0)})


@pytest.mark.parametrize("kind", ["vivit", "videomae"])
@settings(max_examples=3)
@given(
    keep=st.sampled_from([15, 22, 30]),
    by=st.sampled_from(["run_length", "uniform"]),
    mode=st.sampled_from(["merge", "hybrid", "drop"]),
    r=st.sampled_from([0, 4]),
)
def test_models_account_for_every_patch(kind, keep, by, mode, r):
    reduction = Reduction(r=r, mode=mode, threshold=0.3, input=InputReduction(keep, by), proportional_attention=True)
    model = tiny(kind, reduction)
    clips = video(model)
    logits, trace, features = jitted(model, variables(kind), clips)
    total = FRAMES * PLACES + model.has_class_token
    assert trace.tokens_per_layer == model.tokens_per_layer
    assert model.tokens_per_layer[0] == keep + model.has_class_token
    assert features.shape == (2, *model.grid, 24)
    for state in trace.layers:
        for membership, size in zip(np.asarray(state.membership), np.asarray(state.size), strict=True):
            assert len(membership) == total
            np.testing.assert_array_equal(size, np.bincount(membership[membership >= 0], minlength=len(size)))
            assert (membership >= 0).all() or mode != "merge"
    # Groups of patches, as pictures show them.
    assert patch_groups(model, trace).grid == model.grid
    for clip in range(2):
        alone = jitted(model, variables(kind), clips[clip : clip + 1])
        np.testing.assert_allclose(alone[0], logits[clip : clip + 1], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(alone[1].membership[0], trace.membership[clip])


@pytest.mark.parametrize("kind", ["vivit", "videomae"])
def test_compiled_equals_eager_and_fewer_patches_cost_less(kind):
    model = tiny(kind, Reduction(r=3, input={"keep": 20}))
    clips = video(model)
    eager = model.apply(variables(kind), clips, trace=True)
    compiled = jitted(model, variables(kind), clips)
    np.testing.assert_allclose(eager[0], compiled[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(eager[1].membership, compiled[1].membership)
    assert model.macs.embedding * 30 == tiny(kind).macs.embedding * 20


@pytest.mark.parametrize("kind", ["vivit", "videomae"])
def test_keeping_all_patches_changes_nothing(kind):
    model = tiny(kind, Reduction(input=InputReduction(FRAMES * PLACES)))
    clips = video(model)
    plain = tiny(kind).apply(variables(kind), clips)
    np.testing.assert_allclose(jitted(model, variables(kind), clips)[0], plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_a_clip_without_change_loses_nothing_where_times_look_alike(classifier):
    """A run's patches are then the same token, which attention and the mean count as often as it was there."""
    fields = {"classifier": classifier}
    reduction = Reduction(input=InputReduction(PLACES), layout="fixed")
    plain, reduced = tiny("vivit", **fields), tiny("vivit", reduction, **fields)
    weights = random_params(plain)
    positions = weights["params"]["Transformer"]["posembed_input"]["pos_embedding"]
    front = positions.shape[1] - FRAMES * PLACES
    positions[:, front + PLACES :] = positions[:, front : front + PLACES]
    clips = np.repeat(video(plain)[:, :1], plain.num_frames, axis=1)
    expected = plain.apply(weights, clips)
    np.testing.assert_allclose(reduced.apply(weights, clips), expected, rtol=1e-4, atol=1e-5)
    unweighted = tiny("vivit", Reduction(input=InputReduction(PLACES + 7), proportional_attention=False), **fields)
    assert not np.allclose(unweighted.apply(weights, clips), expected, rtol=1e-4, atol=1e-5)


def test_a_random_choice_is_drawn_per_clip_from_the_stream():
    patches = jnp.zeros((2, *GRID, 1))
    one, again, other = (
        kept(InputReduction(12, "random"), patches, jax.random.key(seed))[1].places for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one[0] != one[1]).any()
    assert Reduction(input={"keep": 12, "by": "random"}).draws
    assert not Reduction(input={"keep": 12}).draws


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InputReduction(-1), "reduction.input.keep is -1; expected a whole number"),
        (
            lambda: InputReduction(9, "entropy"),
            "by is 'entropy'; known are run_length, random, uniform",
        ),
        (lambda: Reduction(input={"kep": 9}), "reduction.input has no key 'kep'; its keys are keep, by"),
        (lambda: Reduction(input={"by": "random"}), "is {'by': 'random'}, without 'keep', the number of patches"),
        (lambda: Reduction(input=9), "reduction.input is 9; expected a dictionary such as"),
        (lambda: Reduction(mode="none", input=InputReduction(9)), "mode='merge' with r=0"),
        (
            lambda: tiny("vivit", Reduction(input=InputReduction(14))),
            "keep is 14; expected 15, the patches of one",
        ),
        (lambda: tiny("videomae", Reduction(input=InputReduction(31))), "to 30, those of a clip"),
        (lambda: tiny("timesformer", Reduction(input=InputReduction(20))), "TimeSformer needs equally many"),
        (lambda: tiny("motionformer", Reduction(input=InputReduction(20))), "Motionformer needs equally many"),
        (lambda: tiny_factorised(Reduction(input=InputReduction(20))), "FactorisedEncoderViViT needs equally many"),
    ],
)
def test_what_cannot_be_is_said(build, message):
    with pytest.raises(UserError, match=message):
        build()


def test_a_dictionary_that_keeps_none_keeps_all():
    assert Reduction(input={"keep": 0, "by": "run_length"}) == Reduction()
    assert hash(Reduction(input={"keep": 9})) == hash(Reduction(input=InputReduction(9)))
