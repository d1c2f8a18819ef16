import numpy as np
import pytest
from flax import serialization

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
        f"{golden / STEP}: orbax cannot restore this directory; if files are missing or cut short, copy it again "
        "(ValueError: OUT_OF_RANGE: byte range is not valid)."
    )


def test_directory_without_description(golden, spacetime_model, monkeypatch):
    import orbax.checkpoint as ocp

    monkeypatch.setattr(ocp.Checkpointer, "metadata", lambda self, directory: None)
    with pytest.raises(CheckpointError, match="no readable description of its content"):
        load_checkpoint(golden / STEP, spacetime_model)


def test_the_folder_of_a_checkpoint_manager_is_its_last_step(tmp_path, tree_model, assert_same_tree):
    import orbax.checkpoint as ocp

    params = {"a": {"kernel": np.arange(4, dtype=np.float32)}}
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (3, 20):
            state = {"params": {"a": {"kernel": params["a"]["kernel"] * (step == 20)}}}
            manager.save(step, args=ocp.args.StandardSave(state))
    for path in ("run", "run/20", "run/20/default"):
        assert_same_tree(load_checkpoint(tmp_path / path, tree_model(params))["params"], params)
    (tmp_path / "run" / "21").mkdir()
    with pytest.raises(CheckpointError, match="21: a directory that orbax did not write, or did not finish writing"):
        load_checkpoint(tmp_path / "run", tree_model(params))


@pytest.mark.parametrize("form", ["orbax", "msgpack"])
def test_parameters_by_themselves(tmp_path, tree_model, assert_same_tree, form):
    params = {"a": {"kernel": np.arange(4, dtype=np.float32)}, "cls": np.ones(2, np.float32)}

    def write(name, tree):
        if form == "orbax":
            return save(tmp_path / name, tree)
        (tmp_path / name).write_bytes(serialization.msgpack_serialize(tree))
        return tmp_path / name

    assert_same_tree(load_checkpoint(write("bare", params), tree_model(params))["params"], params)
    with pytest.raises(CheckpointError, match=r"1 unexpected:\n    step: found"):
        load_checkpoint(write("more", {**params, "step": np.ones(1, np.float32)}), tree_model(params))


def test_shapes_are_compared_before_anything_is_restored(golden, tree_model, monkeypatch):
    import orbax.checkpoint as ocp

    monkeypatch.setattr(ocp.Checkpointer, "restore", lambda *args, **kwargs: pytest.fail("restored"))
    with pytest.raises(CheckpointError, match=r"cls: found \(1, 1, 24\), expected \(7,\)"):
        load_checkpoint(golden / STEP, tree_model({"cls": np.zeros(7, np.float32)}))
