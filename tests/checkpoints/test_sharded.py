import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jax_vtm
from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, load_checkpoint


@pytest.fixture
def shards(golden, tmp_path):
    """The recorded Hugging Face file, cut into two with an index."""
    tensors = load_file(golden / "hf" / "model.safetensors")
    names = sorted(tensors)
    homes = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for home in set(homes.values()):
        save_file({name: tensors[name] for name in names if homes[name] == home}, tmp_path / home)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": homes}))
    return index


@pytest.fixture(scope="module")
def model(golden):
    config = json.loads((golden / "hf" / "config.json").read_text())
    tubelet = config["tubelet_size"]
    return jax_vtm.create_model(
        "vivit_b_16x2",
        num_classes=len(np.load(golden / "hf" / "scenic.npz")["logits"][0]),
        image_size=config["image_size"],
        num_frames=config["num_frames"],
        patch_size=tuple(tubelet),
        hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
    )


def test_an_index_and_its_parts_load_as_the_whole_file(golden, shards, model):
    whole = load_checkpoint(golden / "hf" / "model.safetensors", model)["params"]
    parts = load_checkpoint(shards, model)["params"]
    np.testing.assert_array_equal(parts["embedding"]["kernel"], whole["embedding"]["kernel"])
    np.testing.assert_array_equal(parts["output_projection"]["bias"], whole["output_projection"]["bias"])


def test_parts_that_are_missing_elsewhere_or_other_than_listed_are_refused(shards, model, tmp_path):
    content = json.loads(shards.read_text())
    name = next(iter(content["weight_map"]))

    shards.write_text(json.dumps({"weight_map": {**content["weight_map"], "extra": content["weight_map"][name]}}))
    with pytest.raises(CheckpointError, match=r"does not hold what .*index.json says: missing \['extra'\]"):
        load_checkpoint(shards, model)
    shards.write_text(json.dumps({"weight_map": {**content["weight_map"], name: "../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"names the file '../elsewhere.safetensors'; expected one in the same"):
        load_checkpoint(shards, model)
    shards.write_text(json.dumps(content))
    (tmp_path / content["weight_map"][name]).unlink()
    with pytest.raises(CheckpointError, match=r"which is not beside it. Download every part"):
        load_checkpoint(shards, model)
    shards.write_text('{"weight_map": 3}')
    with pytest.raises(CheckpointError, match="no readable `weight_map`"):
        load_checkpoint(shards, model)
    shards.write_text('{"weight_map": {"classifier.bias": 3}}')
    with pytest.raises(CheckpointError, match="names files by something else"):
        load_checkpoint(shards, model)


def test_the_digest_covers_the_parts(shards, tmp_path):
    digest = checkpoint_digest(shards)
    part = next(tmp_path.glob("*.safetensors"))
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert checkpoint_digest(shards) != digest
    part.write_bytes(content)
    assert checkpoint_digest(shards) == digest
    part.unlink()
    with pytest.raises(CheckpointError, match="which is not beside it"):
        checkpoint_digest(shards)
