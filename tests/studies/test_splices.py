import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.data import Batch, Failure
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Variant
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model
from jax_vtm.studies.splices import evaluate_splices
from jax_vtm.studies.splices_results import UNSPLICED

COUNT = 8
FIELDS = {
    "num_classes": 3,
    "image_size": 16,
    "num_frames": 4,
    "patch_size": (1, 8, 8),
    "hidden_size": 12,
}
LAYERS = {"num_layers": 2, "num_heads": 2, "mlp_dim": 16}
FACTORISED = {
    f"{part}_{field.removeprefix('num_')}": value for part in ("spatial", "temporal") for field, value in LAYERS.items()
}
PRESETS = {
    "vivit_b_16x2": LAYERS,
    "vivit_b_16x2_fe": FACTORISED,
    "timesformer_b_8": LAYERS,
    "motionformer_b_16": LAYERS,
    "videomae_b_16": LAYERS,
}


def clips(seed: int, failing: tuple[int, ...] = ()) -> Batch:
    rng = np.random.default_rng(seed)
    mask = ~np.isin(np.arange(COUNT), failing)
    return Batch(
        frames=rng.integers(256, size=(COUNT, 1, 4, 16, 16, 3), dtype=np.uint8),
        mask=mask,
        labels={"label": np.where(mask, rng.integers(3, size=COUNT), -1).astype(np.int32)},
        ids=tuple(f"{seed}/{i}" for i in range(COUNT)),
        indices=np.arange(COUNT, dtype=np.int32),
        failures=tuple(Failure(f"{seed}/{i}", "broken") for i in failing),
    )


def variant(preset: str, **reduction) -> Variant:
    reduction = {"r": 2, "layout": "fixed"} | reduction
    fields = {**FIELDS, **PRESETS[preset]}
    model = create_model(preset, reduction=Reduction(**reduction), **fields)
    rngs = {"params": jax.random.key(0), "reduction": jax.random.key(1)}
    params = jax.eval_shape(lambda: model.init(rngs, jnp.zeros((1, *model.input_shape))))
    flat, tree = jax.tree.flatten(params["params"])
    rng = np.random.default_rng(0)
    return Variant(
        "merged", model, tree.unflatten([rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in flat])
    )


def splices(one: Variant, length: int = 2, *, donor: Batch | None = None, starts=None):
    starts = np.arange(COUNT) % (5 - length) if starts is None else starts
    return evaluate_splices([one], [clips(0)], {"random": [clips(1) if donor is None else donor]}, starts, length)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_merges_across_is_bounded_in_every_model(preset):
    found = splices(variant(preset))
    for one in found.spliced.values():
        counts = one.mixing
        assert counts.merged_tokens.shape == (COUNT, 2)
        assert np.all(counts.merged_tokens[:, 0] > 0)
        assert np.all(np.diff(counts.merged_tokens, axis=1) >= 0)
        assert np.all(counts.mixed_tokens <= counts.merged_tokens)
        assert np.all(counts.mixed_groups <= counts.merged_groups)
        # Models that merge within a frame never merge across a splice.
        if preset in ("vivit_b_16x2_fe", "timesformer_b_8", "motionformer_b_16"):
            assert not counts.mixed_tokens.any()
        else:
            assert counts.mixed_tokens[:, -1].any()
    changed = [one.logits["label"] for one in found.spliced.values()]
    assert np.all(np.abs(changed[0] - changed[1]).max(axis=-1) > 1e-4)


@pytest.mark.parametrize("mode", ["drop", "hybrid"])
def test_modes_and_what_they_leave_to_be_mixed(mode):
    counts = splices(variant("vivit_b_16x2", mode=mode, threshold=2.0)).spliced["random", "merged"].mixing
    # What is dropped is in no group.
    assert np.any(counts.merged_tokens) == (not mode.endswith("drop"))


def test_without_reduction_nothing_is_mixed():
    for one in splices(variant("vivit_b_16x2", r=0)).spliced.values():
        assert not any(values.any() for values in vars(one.mixing).values())


def test_a_clip_spliced_with_itself_is_as_it_was():
    found = splices(variant("videomae_b_16"), donor=clips(0))
    ours, theirs = found.spliced["random", "merged"], found.spliced[UNSPLICED, "merged"]
    np.testing.assert_array_equal(ours.logits["label"], theirs.logits["label"])
    for name, values in vars(ours.mixing).items():
        np.testing.assert_array_equal(values, getattr(theirs.mixing, name))


def test_a_clip_that_is_all_the_donors_is_predicted_as_the_donor():
    one = variant("vivit_b_16x2")
    given = splices(one, 4, starts=np.zeros(COUNT, int)).spliced["random", "merged"].logits["label"]
    itself = evaluate_splices([one], [clips(1)], {}, np.zeros(COUNT, int), 1).spliced[UNSPLICED, "merged"]
    np.testing.assert_allclose(given, itself.logits["label"], rtol=1e-5, atol=1e-6)


def test_failures_of_hosts_and_donors():
    hosts, donor = clips(0, failing=(1,)), clips(1, failing=(1, 3))
    starts = np.zeros(COUNT, int)
    found = evaluate_splices([variant("vivit_b_16x2")], [hosts], {"random": [donor]}, starts, 2)
    assert [(one.id, one.reason) for one in found.failures] == [
        ("0/1", "broken"),
        ("0/3", "its donor 1/3 could not be read: broken"),
    ]
    assert found.ids.tolist() == [f"0/{i}" for i in range(COUNT) if i not in (1, 3)]
    assert found.donor_ids["random"].tolist() == [f"1/{i}" for i in range(COUNT) if i not in (1, 3)]
    nothing = dataclasses.replace(clips(0, failing=tuple(range(COUNT))))
    with pytest.raises(UserError, match="no video could be read together with its donors; the first is 0/0: broken"):
        evaluate_splices([variant("vivit_b_16x2")], [nothing], {"random": [donor]}, starts, 2)
