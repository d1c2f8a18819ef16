"""Groups of a model's patches are drawn as the PyTorch reference draws its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation import Candidate
from jax_vtm.merging import Reduction
from jax_vtm.models import PatchGroups, create_model
from jax_vtm.reports.merged_tokens import draw_layer, merged_tokens

FIELDS = {"num_classes": 3, "hidden_size": 16, "num_frames": 4, "patch_size": (1, 8, 8)}
ENCODER = {f"spatial_{name}": size for name, size in (("layers", 2), ("heads", 2), ("mlp_dim", 16))}
TEMPORAL = {f"temporal_{name}": size for name, size in (("layers", 1), ("heads", 2), ("mlp_dim", 16))}
PLAIN = {"num_layers": 2, "num_heads": 2, "mlp_dim": 16}


@pytest.mark.parametrize(
    ("case", "grid", "patch", "within"),
    [
        ("st_hybrid_nocls", (2, 4, 4), (2, 8, 8), False),
        ("sp_depth1", (4, 4, 4), (1, 8, 8), True),
        ("sp_depth2", (2, 4, 4), (2, 8, 8), True),
    ],
)
def test_pixels_equal_the_recorded_ones(case, grid, patch, within, golden):
    recorded = np.load(golden / "torch" / "visualisation.npz")
    frames = (recorded["video_tchw"].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    source = recorded[f"{case}/source"]
    numbers = np.where(source.any(axis=1), source.argmax(axis=1), -1).reshape(1, *grid).astype(np.int32)
    # How the clip counts its groups makes no difference where pictures count within a time step.
    membership = numbers + 100 if within else numbers
    picture = draw_layer(frames, PatchGroups(membership, numbers, (), within), 0, patch)
    assert np.abs(picture.astype(int) - recorded[f"{case}/vis_avg1"]).max() <= 1


@pytest.mark.parametrize(
    ("preset", "fields", "words"),
    [
        ("timesformer_b_8", PLAIN, "the 21 groups that the clip's 37 tokens"),
        ("vivit_b_16x2_fe", ENCODER | TEMPORAL, "the 6 groups that each time index's 10 tokens"),
    ],
)
def test_the_reports_picture_says_whose_tokens_and_leaves_out_what_is_no_patch(preset, fields, words):
    model = create_model(preset, reduction=Reduction(r=2), image_size=30, **FIELDS, **fields)
    clips = np.random.default_rng(0).normal(size=(2, *model.input_shape)).astype(np.float32)
    params = jax.jit(model.init)(jax.random.key(0), jnp.asarray(clips))["params"]
    protocol = ClipProtocol(num_frames=4, stride=1, short_side=30, crop=30)
    picture = merged_tokens(Candidate("merge r=2", model, params), protocol, ["a", "b"], [0, 1], clips)
    assert picture is not None
    assert words in picture.caption
    # Two clips, each above its groups; 24 of the 30 pixels fill patches.
    scale = 1024 // (4 * 24)
    assert picture.size == (4 * (24 * scale + 2) - 2, 4 * (24 * scale + 2) - 2)
