"""Properties of whole models of all four kinds, over drawn reductions."""

import functools
import math
import operator

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import QUICK
from tiny_models import FRAMES, PLACES, PRESET_OF, given_scores, tiny, variables, video

from jax_vtm.merging import Reduction
from jax_vtm.merging.schedule import CHOOSES_BY_SHIFT, HEAD_AGGREGATIONS, IMPORTANCES, LAYOUTS, MEANS, MODES

KINDS = list(PRESET_OF)

# Fields of a `Reduction`; it is made inside the tests, because the types of its fields are checked by lot, and
# hypothesis wants all chance for itself.
whole = {"r": st.sampled_from([3, 1, 5, 100, 0]), "inflection": st.sampled_from([0.0, -1.0, -0.5, 0.3, 1.0])}
listed = {"r": st.lists(st.sampled_from([2, 6, 100, 0]), min_size=1, max_size=2)}
fields = {
    "mode": st.sampled_from([*sorted(MODES, key="none".__eq__), ("drop", "merge"), ("hybrid", "random_drop")]),
    "proportional_attention": st.sampled_from([None, True, False]),
    "head_aggregation": st.sampled_from(HEAD_AGGREGATIONS),
    "threshold": st.sampled_from([0.6, 0.0, -2.0]),
    "layout": st.sampled_from(LAYOUTS),
    "mean": st.sampled_from(MEANS),
    "importance": st.sampled_from(IMPORTANCES),
}


def possible(chosen):
    """Without a choice by shift where no layer makes one."""
    by_shift = set(CHOOSES_BY_SHIFT) & {*([chosen["mode"]] if isinstance(chosen["mode"], str) else chosen["mode"])}
    return chosen if by_shift else {**chosen, "importance": "similarity"}


reductions = st.one_of(st.fixed_dictionaries(fields | whole), st.fixed_dictionaries(fields | listed)).map(possible)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def jitted(model, variables, clips):
    """Logits and trace."""
    return model.apply(variables, clips, trace=True)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(chosen=reductions, dtype=st.sampled_from([None, jnp.bfloat16]))
def test_counts_and_types_are_known_before_tracing(kind, chosen, dtype):
    reduction = Reduction(**chosen)
    model = tiny(kind, reduction, dtype=dtype)
    rngs = {"reduction": jax.random.key(0)}
    logits, trace = jax.eval_shape(lambda v, x: model.apply(v, x, trace=True, rngs=rngs), variables(kind), video(model))
    assert trace.tokens_per_layer == model.tokens_per_layer
    initial, final = model.tokens_per_layer[0], model.tokens_per_layer[-1]
    assert initial == FRAMES * PLACES + model.has_class_token
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
    last = trace.layers[-1]
    assert (last.size.shape, last.size.dtype) == ((2, final), jnp.float32)
    assert (last.membership.shape, last.membership.dtype) == ((2, initial), jnp.int32)
    if reduction.mode == "none":
        assert final == initial


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(chosen=reductions)
def test_every_token_is_accounted_for_and_clips_by_themselves_agree(kind, chosen):
    reduction = Reduction(**chosen)
    model = tiny(kind, reduction)
    # The numbers drawn for two clips are not those drawn for one.
    scores = given_scores(model) if reduction.draws else {}
    clips = video(model)
    logits, trace = jitted(model, {**variables(kind), **scores}, clips)
    check_trace(reduction, trace)
    for clip in range(2):
        own = jax.tree.map(lambda leaf, clip=clip: leaf[len(leaf) // 2 * clip :][: len(leaf) // 2], scores)
        alone = jitted(model, {**variables(kind), **own}, clips[clip : clip + 1])
        assert_same(
            alone, (logits[clip : clip + 1], jax.tree.map(lambda leaf, clip=clip: leaf[clip : clip + 1], trace))
        )


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_equals_eager(kind):
    # One layer that does everything there is: sizes that weigh, tokens that merge and such that are replaced.
    fields = {"threshold": 0.6, "proportional_attention": True, "layout": "fixed", "importance": "shift"}
    reduction = Reduction(r=5, mode="hybrid", **fields)
    model = tiny(kind, reduction, num_layers=1)
    clips = video(model, batch=1)
    eager, compiled = model.apply(variables(kind), clips, trace=True), jitted(model, variables(kind), clips)
    assert_same(eager, compiled)


def assert_same(found, expected):
    """Of pairs of logits and trace."""
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-4)
    for one, other in zip(found[1].layers, expected[1].layers, strict=True):
        np.testing.assert_array_equal(one.membership, other.membership)
        np.testing.assert_array_equal(one.size, other.size)


def check_trace(reduction, trace):
    initial, final = trace.tokens_per_layer[0], trace.tokens_per_layer[-1]
    for membership, sizes in zip(np.asarray(trace.membership), np.asarray(trace.sizes), strict=True):
        assert ((membership >= -1) & (membership < final)).all()
        kept = membership[membership >= 0]
        members = np.bincount(kept, minlength=final)
        assert (members > 0).all()
        np.testing.assert_array_equal(sizes, members)
        # What was dropped or replaced has left, and its size with it; the rest is all there.
        assert sizes.sum() + (membership < 0).sum() == initial
        if reduction.drops:
            # A survivor stands for itself alone.
            np.testing.assert_array_equal(sizes, 1)
        elif reduction.mode in ("merge", "random_merge") or (reduction.mode == "hybrid" and reduction.threshold < -1):
            assert sizes.sum() == initial


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_the_mode_of_its_place(kind):
    """With no token removed in the other layer, two modes are the same model as that of the layer that removes some."""
    clips = video(tiny(kind), batch=1)
    for r, alone in (((5, 0), "drop"), ((0, 5), "merge")):
        mixed, single = (tiny(kind, Reduction(r=r, mode=mode)) for mode in (("drop", "merge"), alone))
        assert_same(jitted(mixed, variables(kind), clips), jitted(single, variables(kind), clips))
        assert mixed.macs == single.macs
    _, trace = jitted(tiny(kind, Reduction(r=(5, 5), mode=("merge", "drop"))), variables(kind), clips)
    # Dropping leaves what was merged before as large as it was.
    assert trace.sizes.max() > 1


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2)
@given(chosen=reductions, seed=st.integers(0, 99))
def test_bfloat16_stays_close_where_it_decides_alike(kind, chosen, seed):
    reduction = Reduction(**chosen | {"importance": "similarity"})
    # The scores are given, since a rounded key may pick another partner; the decisions are then the same.
    model, narrow = tiny(kind, reduction), tiny(kind, reduction, dtype=jnp.bfloat16)
    weights = {**variables(kind), **given_scores(model, seed=seed)}
    logits, trace = jitted(model, weights, video(model))
    found, found_trace = jitted(narrow, weights, video(model))
    np.testing.assert_array_equal(found_trace.membership, trace.membership)
    np.testing.assert_array_equal(found_trace.sizes, trace.sizes)
    np.testing.assert_allclose(found, logits, rtol=0, atol=0.05 * float(np.abs(logits).max()))
    assert (found != logits).any()


def idle(path):
    """Parameters that cannot change the result.

    A key's bias shifts all scores of a query alike. Motionformer's second step sums unprojected values, and in the last
    layer, after which only the class token is read, the patches' trajectories have nobody to tell of.
    """
    return path.endswith("key/bias") or "trajectory_value" in path or "encoderblock_1/attention/trajectory_" in path


@pytest.mark.parametrize(
    # Random scores are drawn in the module that all models share.
    ("kind", "mode"),
    [(kind, mode) for kind in KINDS for mode in MODES[1:] if kind == "vivit" or "random" not in mode],
)
def test_training_is_differentiable_in_every_mode(kind, mode):
    given = given_scores(tiny(kind, Reduction(r=3)))
    # Half of the edges that are taken are below the threshold, so that hybrid replaces some tokens and merges others.
    edges = [np.sort(np.max(leaf, axis=-1))[:, -3:].ravel() for leaf in jax.tree.leaves(given)]
    threshold = float(np.median(np.concatenate(edges)))
    reduction = Reduction(r=3, mode=mode, threshold=threshold, proportional_attention=True)
    scores = {} if reduction.is_random else given
    model = tiny(kind, reduction, dropout_rate=0.1, droplayer_rate=0.1)
    clips, params = jnp.asarray(video(model)), variables(kind)["params"]

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.value_and_grad
    def loss(params):
        # The other kind of numbers takes the compiler far longer.
        rngs = {name: jax.random.key(seed, impl="rbg") for seed, name in enumerate(("reduction", "dropout"))}
        logits = model.apply({"params": params, **scores}, clips, train=True, rngs=rngs)
        return -jnp.mean(jax.nn.log_softmax(logits)[:, 2])

    _, gradients = loss(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = "/".join(key.key for key in path)
        assert np.isfinite(leaf).all(), name
        assert (np.abs(leaf).max() > 1e-6) or idle(name), name
    # Along one direction, half of it uphill, against the difference of two losses. Scores, or numbers in their place
    # and what dropout drops are the same in all three, so nothing is decided otherwise.
    rng = np.random.default_rng(2)
    uphill, flatten = jax.flatten_util.ravel_pytree(gradients)
    anywhere = rng.normal(size=uphill.shape).astype(np.float32)
    direction = uphill / jnp.linalg.norm(uphill) + anywhere / np.linalg.norm(anywhere)
    step = 3e-3
    slope, steps = float(uphill @ direction), flatten(step * direction)
    up, down = (loss(jax.tree.map(move, params, steps))[0] for move in (operator.add, operator.sub))
    assert slope > 0.1
    assert math.isclose(slope, float(up - down) / (2 * step), rel_tol=0.02)
