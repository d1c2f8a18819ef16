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


def test_every_recorded_configuration_is_built():
    assert sorted(BUILT) == sorted(SUMMARY)


@pytest.mark.parametrize("name", BUILT)
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


def test_reduction_is_off_unless_asked_for():
    assert create_model("vivit_b_16x2").reduction.mode == "none"
