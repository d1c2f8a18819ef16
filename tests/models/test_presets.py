"""Presets at full size: parameters (of files: see test_released_tensors.py), tokens per layer, overrides."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.models import PRESETS, create_model

PARAMS = Path(__file__).parents[1] / "golden" / "scenic" / "params"
SUMMARY = json.loads((PARAMS / "summary.json").read_text())
SSV2 = {"image_size": 256, "num_classes": 174, "temporal_layers": 4}
BUILT = {
    "vivit_b_16x2_k400": ("vivit_b_16x2", {}),
    "vivit_b_16x2_fe_k400": ("vivit_b_16x2_fe", {}),
    "vivit_l_16x2_fe_k400": ("vivit_l_16x2_fe", {}),
    "vivit_l_16x2_fe_k600": ("vivit_l_16x2_fe", {"num_classes": 600}),
    "vivit_l_16x2_fe_epic_kitchens": ("vivit_l_16x2_fe_epic", {}),
    "vivit_l_16x2_fe_ssv2": ("vivit_l_16x2_fe", SSV2),
}


@pytest.mark.parametrize("name", SUMMARY)
def test_parameters_are_scenics(name):
    preset, overrides = BUILT[name]
    model = create_model(preset, **overrides)
    recorded = json.loads((PARAMS / f"params_{name}.json").read_text())
    assert model.input_shape == tuple(SUMMARY[name]["input_shape"][1:])
    video = jax.ShapeDtypeStruct((1, *model.input_shape), np.float32)
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), video)["params"], sep="/")
    assert {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in shapes.items()} == recorded
    assert sum(leaf.size for leaf in shapes.values()) == SUMMARY[name]["n_params"]


def test_unknown_names_are_answered_with_known_ones():
    with pytest.raises(UserError, match=r"'vivit_b_16x2fe' is not known\. Did you mean 'vivit_b_16x2_fe'\? Known are"):
        create_model("vivit_b_16x2fe")
    with pytest.raises(UserError, match=r"no field 'num_layer'\. Did you mean 'num_layers'\? Its fields are"):
        create_model("vivit_b_16x2", num_layer=3)
    with pytest.raises(UserError, match=r"no field 'temporal_reduction'"):
        create_model("vivit_b_16x2", temporal_reduction=Reduction())


def test_overrides_leave_the_preset_alone():
    model = create_model("vivit_b_16x2", image_size=(224, 320), num_classes={"verb": 97, "noun": 300})
    assert model.input_shape == (32, 224, 320, 3)
    assert model.grid == (16, 14, 20)
    assert model.heads == (("noun", 300), ("verb", 97))
    assert create_model("vivit_b_16x2").input_shape == (32, 224, 224, 3)
    with pytest.raises(TypeError):
        PRESETS["vivit_b_16x2"].fields["num_classes"] = 3  # pyright: ignore[reportIndexIssue]


# Tokens after each layer by the paper's schedules, of a clip or of one frame's patches.
PER_FRAME = (196, 178, 160, 142, 124, 106, 88, 70, 52, 34, 17, 9, 5)
VIVIT = (3137, 2837, 2537, 2237, 1937, 1637, 1337, 1037, 737, 437, 219, 110, 56)
VIVIT_DECREASING = (3137, 2537, 1992, 1502, 1066, 685, 358, 180, 91, 46, 24, 13, 13)
VIDEOMAE = (1568, 1418, 1268, 1118, 968, 818, 668, 518, 368, 218, 109, 55, 28)


@pytest.mark.parametrize(
    ("name", "r", "inflection", "expected"),
    [
        ("vivit_b_16x2", 300, 0, VIVIT),
        ("vivit_b_16x2", 300, -1, VIVIT_DECREASING),
        ("videomae_b_16", 150, 0, VIDEOMAE),
        ("videomae_b_16", 150, -1, (6,)),
        ("timesformer_b_8", 18, 0, [1 + 8 * count for count in PER_FRAME]),
        ("timesformer_b_8", 18, -1, (1 + 8,)),
        ("motionformer_b_16", 18, 0, [1 + 8 * count for count in PER_FRAME]),
        ("motionformer_b_16", 18, -1, (1 + 8,)),
        ("timesformer_b_16_hr", 2, 0, range(1 + 16 * 28 * 28, 1 + 16 * 28 * 28 - 13 * 32, -32)),
        ("timesformer_b_64", 2, 0, range(1 + 64 * 196, 1 + 64 * 196 - 13 * 128, -128)),
        ("timesformer_b_96", 2, 0, range(1 + 96 * 196, 1 + 96 * 196 - 13 * 192, -192)),
        ("motionformer_b_16_hr", 2, 0, range(1 + 8 * 21 * 21, 1 + 8 * 21 * 21 - 13 * 16, -16)),
        ("motionformer_b_32_l", 2, 0, range(1 + 16 * 196, 1 + 16 * 196 - 13 * 32, -32)),
        ("videomae_s_16", 2, 0, range(1568, 1568 - 13 * 2, -2)),
        ("videomae_l_16", 2, 0, range(1568, 1568 - 25 * 2, -2)),
        ("videomae_h_16", 2, 0, range(1568, 1568 - 33 * 2, -2)),
    ],
)
def test_tokens_per_layer(name, r, inflection, expected):
    """Of a full-size preset, from the shapes of a trace, with nothing computed; a single number is the last."""
    model = create_model(name, reduction=Reduction(r=r, inflection=inflection))
    video = jax.ShapeDtypeStruct((1, *model.input_shape), np.float32)
    (_, trace), _ = jax.eval_shape(lambda key, x: model.init_with_output(key, x, trace=True), jax.random.key(0), video)
    assert trace.tokens_per_layer == model.tokens_per_layer
    assert trace.tokens_per_layer[-len(expected) :] == tuple(expected)
    assert len(expected) in (1, model.num_layers + 1)


def test_reduction_is_off_unless_asked_for():
    assert create_model("vivit_b_16x2").reduction.mode == "none"
