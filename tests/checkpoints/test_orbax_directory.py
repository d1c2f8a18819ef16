import numpy as np
import pytest

from jax_vtm.checkpoints import CheckpointError, load_checkpoint

STEP = "checkpoints/vivit_spacetime/new_orbax/checkpoint_1234"


@pytest.mark.parametrize("path", [STEP, "checkpoints/vivit_spacetime/new_orbax"])
def test_scenics_orbax_directory(golden, spacetime_params, spacetime_model, assert_same_tree, path):
    assert_same_tree(load_checkpoint(golden / path, spacetime_model)["params"], spacetime_params)


def test_only_the_parameters_are_restored(golden, monkeypatch, spacetime_model):
    import orbax.checkpoint as ocp

    asked = []
    restore = ocp.Checkpointer.restore

    def spy(self, directory, *args, **kwargs):
        asked.append(set(kwargs["args"].item))
        return restore(self, directory, *args, **kwargs)

    monkeypatch.setattr(ocp.Checkpointer, "restore", spy)
    load_checkpoint(golden / STEP, spacetime_model)
    assert asked == [{"params"}]


def save(path, state):
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, state)
    return path


def test_legacy_layout_empty_subtrees_and_relative_item(tmp_path, tree_model, assert_same_tree):
    params = {"a": {"kernel": np.arange(4, dtype=np.float32)}}
    state = {"optimizer": {"target": {**params, "pre_logits": {}}, "state": {"step": np.int32(1)}}}
    save(tmp_path / "step" / "default", state)
    (tmp_path / "step" / "_CHECKPOINT_METADATA").write_text("{}")
    loaded = load_checkpoint(tmp_path / "step", tree_model(params))
    assert_same_tree(loaded["params"], params)


def test_directory_without_parameters(tmp_path, spacetime_model):
    save(tmp_path / "other", {"weights": np.ones(2), "global_step": np.int32(1)})
    with pytest.raises(CheckpointError, match=r"no parameters found.*Top-level keys: global_step, weights"):
        load_checkpoint(tmp_path / "other", spacetime_model)


# Orbax reads many arrays at once. With really damaged files its threads go on complaining after the error,
# in the middle of later tests; so these two tests only imitate what it does then.
def test_directory_that_orbax_cannot_read(golden, spacetime_model, monkeypatch):
    import orbax.checkpoint as ocp

    def fail(self, directory, **options):
        raise ValueError("OUT_OF_RANGE: byte range is not valid")

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(golden / STEP, spacetime_model)
    assert str(caught.value) == (
        f"{golden / STEP}: orbax cannot restore this directory (ValueError: OUT_OF_RANGE: byte range is not "
        "valid). If files are missing or cut short, copy it again."
    )


def test_directory_without_description(golden, spacetime_model, monkeypatch):
    import orbax.checkpoint as ocp

    monkeypatch.setattr(ocp.Checkpointer, "metadata", lambda self, directory: None)
    with pytest.raises(CheckpointError, match="no readable description of its content"):
        load_checkpoint(golden / STEP, spacetime_model)
