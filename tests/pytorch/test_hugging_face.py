"""Hugging Face's ViViT, TimeSformer and VideoMAE with our PyTorch merging, against the reference's records."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from recorded import time_innermost
from tiny_models import PRESET_OF
from torch_records import RECORDED, fields, reduction_of, save

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from jax_vtm.errors import UserError  # noqa: E402
from jax_vtm.merging import Reduction  # noqa: E402
from jax_vtm.pytorch.hugging_face import merging_model  # noqa: E402

pytestmark = pytest.mark.torch

# The models are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

LOGITS = {"rtol": 0, "atol": 1e-5}
BLOCKS = {"rtol": 0, "atol": 2e-5}
ATTENTIONS = ("eager", "sdpa")
KINDS = ("vivit", "timesformer", "videomae")
CASES = [(kind, name) for kind in KINDS for name in RECORDED[kind].cases]


@functools.cache
def weights(kind):
    return save(kind, Path(tempfile.mkdtemp()))


@functools.cache
def model(kind, reduction=None, attention="eager"):
    return merging_model(PRESET_OF[kind], reduction, attention, weights=weights(kind), **fields(kind))


def traced(kind, reduction=None, attention="eager", scores=None):
    with torch.inference_mode():
        return model(kind, reduction, attention).traced(torch.tensor(RECORDED[kind].video.copy()), scores)


def assert_block(kind, block, recorded):
    """Compares tokens; the reference's TimeSformer has time innermost."""
    np.testing.assert_allclose(block if kind != "timesformer" else time_innermost(split(block)), recorded, **BLOCKS)


def split(block):
    return block[:, :1], block[:, 1:].unflatten(1, (RECORDED["timesformer"].video.shape[1], -1)), None


def assert_sizes(found, recorded):
    np.testing.assert_array_equal(np.ones(recorded.shape[:2]) if found.size is None else found.size, recorded[..., 0])


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_reduction(kind, attention):
    found, arrays = traced(kind, attention=attention), RECORDED[kind].arrays
    np.testing.assert_allclose(found.logits, arrays["base/logits"], **LOGITS)
    for layer, block in enumerate(found.blocks):
        assert_block(kind, block, arrays[f"base/block{layer}"])


@pytest.mark.parametrize(
    # The library's TimeSformer has eager attention alone.
    ("kind", "attention"),
    [(kind, how) for kind in KINDS for how in ATTENTIONS if (kind, how) != ("timesformer", "sdpa")],
)
def test_without_reduction_it_is_the_librarys_own_forward(kind, attention):
    ours, video = model(kind, attention=attention), torch.tensor(RECORDED[kind].video.copy())
    ours.hugging_face.set_attn_implementation(attention)
    with torch.inference_mode():
        expected = ours.hugging_face(pixel_values=video.movedim(-1, 2)).logits
        np.testing.assert_allclose(ours(video), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_recorded_case(kind, name):
    case, arrays = RECORDED[kind].cases[name], RECORDED[kind].arrays
    reduction = reduction_of(case)
    scores = [torch.tensor(arrays[f"{name}/rand{draw}"]) for draw in range(case["n_rand_draws"])] or None
    found = traced(kind, reduction, scores=scores)
    np.testing.assert_allclose(found.logits, arrays[f"{name}/logits"], **LOGITS)
    assert_sizes(found, arrays[f"{name}/size"])
    counts = case["token_counts"]
    if case["duplicate"] is not None:
        # The reference counts a repeated layer once per repetition.
        layer, times = case["duplicate"]["layer_to_duplicate"], case["duplicate"]["quantity"]
        counts = counts[:layer] + counts[layer + times - 1 :]
    assert [block.shape[1] for block in found.blocks] == counts
    for layer, (block, steps) in enumerate(zip(found.blocks, found.steps, strict=True)):
        if f"{name}/block{layer}" not in arrays:
            continue
        assert_block(kind, block, arrays[f"{name}/block{layer}"])
        matching = steps[-1]
        np.testing.assert_array_equal(matching.src, 2 * arrays[f"{name}/src_idx{layer}"])
        if f"{name}/dst_idx{layer}" in arrays:
            joined = matching.kept.gather(1, matching.dst)
            np.testing.assert_array_equal(joined, 2 * arrays[f"{name}/dst_idx{layer}"] + 1)


@pytest.mark.parametrize("name", ["merge", "hybrid", "drop"])
@pytest.mark.parametrize("kind", KINDS)
def test_fused_attention_gives_the_same(kind, name):
    arrays, reduction = RECORDED[kind].arrays, reduction_of(RECORDED[kind].cases[name])
    found = traced(kind, reduction, "sdpa")
    np.testing.assert_allclose(found.logits, arrays[f"{name}/logits"], **LOGITS)
    assert_sizes(found, arrays[f"{name}/size"])


def test_recorded_scores_can_be_replayed():
    decided = traced("vivit", Reduction(r=5))
    replayed = traced("vivit", Reduction(r=5, mode="random_merge"), scores=[step.scores for (step,) in decided.steps])
    np.testing.assert_array_equal(replayed.logits, decided.logits)


@pytest.mark.parametrize("mode", ["random_merge", "random_drop"])
def test_random_modes_draw_anew(mode):
    torch.manual_seed(0)
    first, second = (traced("vivit", Reduction(r=5, mode=mode)).steps[0][0].src for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_random_weights_are_those_of_the_seed_and_none_is_zero(kind):
    first, again, other = (merging_model(PRESET_OF[kind], seed=seed, **fields(kind)) for seed in (1, 1, 2))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert not torch.equal(a, c), name
        assert a.std() > 0.01, name


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("vivit_b_16x2_fe", {}, "supports ViViT, TimeSformer and VideoMAE"),
        ("motionformer_b_16", {}, "Hugging Face has no Motionformer"),
        ("timesformer_b_8", {"image_size": (224, 256)}, "images of 224 x 256.*TimeSformer has squares"),
        ("timesformer_b_8", {"position_grid": (8, 28, 28)}, r"position_grid \(8, 28, 28\)"),
        ("vivit_b_16x2", {"classifier": "gap"}, "with a class token"),
        ("vivit_moving_digits", {}, "Give num_classes as a number"),
        ("videomae_b_16", {"attention": "flash"}, "'flash'; known are eager, sdpa"),
        ("videomae_b_16", {"weights": "nowhere"}, "nowhere: no such folder"),
        ("vivit", {}, "model 'vivit' is not known"),
    ],
)
def test_what_cannot_be_built_is_refused(preset, settings, message):
    with pytest.raises(UserError, match=message):
        merging_model(preset, **settings)


def test_weights_of_another_shape_or_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot load"):
        merging_model("vivit_b_16x2", weights=tmp_path, **fields("vivit"))
    for kind, other in (("videomae", {}), ("vivit", {"num_layers": 5})):
        with pytest.raises(UserError, match=r"does not fit a V.*missing keys"):
            merging_model(PRESET_OF[kind], weights=weights("vivit"), **fields(kind) | other)
    with pytest.raises(UserError, match="ForVideoClassification"):
        merging_model("vivit_b_16x2", weights=weights("vivit"), **fields("vivit") | {"num_classes": 11})


def test_another_version_of_the_library_is_called_by_its_name(monkeypatch):
    class Older(transformers.VivitForVideoClassification):
        def __init__(self, config):
            super().__init__(config)
            del self.vivit.layers

    monkeypatch.setattr(transformers, "VivitForVideoClassification", Older)
    with pytest.raises(UserError, match=r"transformers 5\.\d+.* lays Older out in another way .*'layers'"):
        merging_model("vivit_b_16x2", **fields("vivit"))
