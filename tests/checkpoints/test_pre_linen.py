"""The layout of 2021 from before Linen: modules that were numbered per parent are renumbered per class."""

import numpy as np
import pytest
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints import load_checkpoint

BLOCK = "Transformer/encoderblock_0"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            [f"{BLOCK}/{name}" for name in ("LayerNorm_0", "Attention_1", "LayerNorm_2", "MlpBlock_3/Dense_0")],
            [f"{BLOCK}/{name}" for name in ("LayerNorm_0", "Attention_0", "LayerNorm_1", "MlpBlock_0/Dense_0")],
        ),
        # Numbers are ordered as numbers.
        (["Dense_2", "Conv_3", "Dense_10"], ["Dense_0", "Conv_0", "Dense_1"]),
        # Names that are Linen's already, or that a person chose, stay.
        *[[["LayerNorm_0", "Attention_0", "LayerNorm_1", "MlpBlock_0/Dense_1", "MlpBlock_0/Dense_0"]] * 2],
        *[[["encoderblock_0/a", "encoderblock_2/a", "cls", "LayerNorm_time"]] * 2],
    ],
)
def test_names(tmp_path, tree_model, stored, expected):
    leaves = [np.full(1, number, np.float32) for number in range(len(stored))]
    tree = unflatten_dict(dict(zip(stored, leaves, strict=True)), sep="/")
    state = {"optimizer": {"target": {"params": tree}}}
    (tmp_path / "checkpoint").write_bytes(serialization.msgpack_serialize(state))
    wanted = dict(zip(expected, leaves, strict=True))
    found = load_checkpoint(tmp_path, tree_model(unflatten_dict(wanted, sep="/")))
    assert flatten_dict(found["params"], sep="/") == wanted
