"""Names and shapes in the released files, beside what our full-size models ask for.

`golden/released/tensors.json` was recorded from the state dicts of the authors' own model code, built as their
configurations say; `*` stands for the number of a block.
"""

import json
import math
from pathlib import Path

import pytest
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints import abstract_params
from jax_vtm.checkpoints.name_tables import (
    MOTIONFORMER,
    TIMESFORMER,
    VIDEOMAE,
    VIVIT,
    architecture_of_file,
    architecture_of_tree,
)
from jax_vtm.checkpoints.torch_names import torch_sources
from jax_vtm.models import PRESETS, create_model

RELEASED = json.loads((Path(__file__).parents[1] / "golden" / "released" / "tensors.json").read_text())
TABLES = {"vivit": VIVIT, "timesformer": TIMESFORMER, "motionformer": MOTIONFORMER, "videomae": VIDEOMAE}
# File, and the preset that takes it.
FILES = {
    "vivit-b-16x2-kinetics400": ("vivit_b_16x2", {}),
    "TimeSformer_divST_8x32_224_K400": ("timesformer_b_8", {}),
    "TimeSformer_divST_16x16_448_K400": ("timesformer_b_16_hr", {}),
    "TimeSformer_divST_64_224_SSv2": ("timesformer_b_64", {}),
    "TimeSformer_divST_96x4_224_K400": ("timesformer_b_96", {}),
    "k400_motionformer_224_16x4": ("motionformer_b_16", {}),
    "k400_motionformer_336_16x8": ("motionformer_b_16_hr", {}),
    "k400_motionformer_224_32x3": ("motionformer_b_32_l", {}),
    "ek_motionformer_224_16x4": ("motionformer_b_16", {"num_classes": {"verb": 97, "noun": 300}}),
    "videomae_vit_small_k400": ("videomae_s_16", {}),
    "videomae_vit_base_k400": ("videomae_b_16", {}),
    "videomae_vit_large_k400": ("videomae_l_16", {}),
    "videomae_vit_huge_k400": ("videomae_h_16", {}),
}
REFUSED = {
    "k400_joint_224_16x4": "Motionformer with joint attention",
    "k400_divided_224_16x4": "Motionformer with divided attention",
}


def released(file):
    """Shape by name, every block by itself."""
    blocks = RELEASED[file]["blocks"]
    return {
        name.replace("*", str(block)): tuple(shape)
        for name, shape in RELEASED[file]["tensors"].items()
        for block in (range(blocks) if "*" in name else [0])
    }


def test_every_recorded_file_and_every_preset_with_released_tensors_is_checked():
    assert FILES.keys() | REFUSED.keys() == RELEASED.keys()
    # Scenic's own files are those of test_presets.py.
    assert {preset for preset, _ in FILES.values()} == {
        name for name in PRESETS if not name.startswith("vivit_") or name == "vivit_b_16x2"
    }


@pytest.mark.parametrize("file", FILES)
def test_full_size_models_ask_for_exactly_the_released_tensors(file):
    preset, overrides = FILES[file]
    model, shapes = create_model(preset, **overrides), released(file)
    table, params = TABLES[preset.split("_")[0]], flatten_dict(abstract_params(model), sep="/")
    asked: dict[str, tuple[int, ...]] = {}
    for entry in torch_sources(table, params, model, file).values():
        asked |= entry.shapes
    prefix = "model." if preset.startswith("timesformer") else ""
    assert {prefix + name: shape for name, shape in asked.items()} == {
        name: shape for name, shape in shapes.items() if name not in table.leftovers
    }
    # Nothing is counted twice, and nothing is left: the parameters are as many as in the file.
    idle = sum(math.prod(shapes[name]) for name in table.leftovers)
    assert sum(leaf.size for leaf in params.values()) + idle == RELEASED[file]["parameters"]
    assert sum(map(math.prod, shapes.values())) == RELEASED[file]["parameters"]


@pytest.mark.parametrize("file", FILES)
def test_files_are_told_apart_by_their_names(file):
    preset, overrides = FILES[file]
    tree = flatten_dict(abstract_params(create_model(preset, **overrides, num_layers=1)), sep="/")
    assert architecture_of_file(released(file)) == architecture_of_tree(tree) is not None


@pytest.mark.parametrize("file", REFUSED)
def test_files_of_other_attention_are_told_apart_too(file):
    assert (architecture_of_file(released(file)) or "").startswith(REFUSED[file])


def test_names_of_nothing_known():
    assert architecture_of_file(["fc.weight"]) is None
    assert architecture_of_tree(["fc/kernel"]) is None
