"""What does not fit a model: all of it in one message, with what the difference probably means."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from checkpoint_cases import (
    KINDS,
    RECORDED,
    TreeModel,
    assert_same_tree,
    refusal,
    scenic_params,
    spacetime_model,
    write_safetensors,
)
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints import CheckpointError, abstract_params, from_torch_state_dict, load_checkpoint

FORMS = ["our names", "released names"]


@pytest.fixture
def misfit(tmp_path):
    """What is said of these parameters for a model that asks for others."""

    def run(found: dict, expected: dict) -> str:
        np.savez(tmp_path / "weights.npz", **{f"params/{name}": leaf for name, leaf in found.items()})
        message = refusal(tmp_path / "weights.npz", TreeModel(unflatten_dict(expected, sep="/")))
        return message.replace(f"{tmp_path}/", "")

    return run


def test_abstract_params_are_shapes_only():
    expected = abstract_params(spacetime_model())
    leaf = expected["Transformer"]["posembed_input"]["pos_embedding"]
    assert isinstance(leaf, jax.ShapeDtypeStruct)
    assert leaf.shape == (1, 97, 24)
    assert jax.tree.structure(expected) == jax.tree.structure(scenic_params())


@pytest.mark.parametrize("dtype", [np.float16, np.dtype(">f4")])
def test_floating_leaves_are_widened(tmp_path, dtype):
    params = {"a": np.asarray([1.0, 0.5, -2.0], np.float32), "b": np.zeros((), np.float32)}
    np.savez(tmp_path / "x.npz", **{f"params/{name}": leaf.astype(dtype) for name, leaf in params.items()})
    found = load_checkpoint(tmp_path / "x.npz", TreeModel(params))
    assert_same_tree(found, params)
    assert found["params"]["a"].dtype.isnative


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.int32, np.complex64, np.bool_])
def test_other_types_are_refused(misfit, dtype):
    message = misfit({"a": np.ones(2, dtype)}, {"a": np.ones(2, np.float32)})
    assert f"1 of a type that does not fit:\n    a: found {np.dtype(dtype)}, expected float32" in message


def test_all_problems_are_in_one_message(misfit):
    params = {name: np.ones(3, np.float32) for name in "abcde"}
    nan = np.asarray([np.nan, 1.0, np.inf], np.float32)
    found = {"a": np.ones(2, np.float32), "b": np.ones(3), "c": nan, "d": np.ones(3, np.float32), "x": nan}
    assert misfit(found, params).splitlines() == [
        "weights.npz: does not fit the model.",
        "  1 missing:",
        "    e: expected (3,)",
        "  1 unexpected:",
        "    x: found (3,)",
        "  1 of another shape:",
        "    a: found (2,), expected (3,)",
        "  1 of a type that does not fit:",
        "    b: found float64, expected float32 (or a type that widens to it)",
    ]


def test_values_that_are_not_finite_are_counted(misfit):
    params = {name: np.ones(3, np.float32) for name in "ab"}
    found = {"a": np.asarray([np.nan, 1.0, np.inf], np.float32), "b": np.full(3, -np.inf, np.float32)}
    assert misfit(found, params).splitlines() == [
        "weights.npz: does not fit the model.",
        "  2 not finite (NaN or infinite):",
        "    a: 2 of 3 values",
        "    b: 3 of 3 values",
    ]


def test_long_lists_are_cut_with_the_count_of_the_rest(misfit):
    params = {f"p{index:02}": np.ones(1, np.float32) for index in range(33)}
    message = misfit({"p00": params["p00"]}, params)
    assert "32 missing:" in message
    assert "p20: expected" in message
    assert "p21" not in message
    assert "... and 12 more" in message


WIDER = {
    path: np.zeros([36 if length == 24 else length for length in leaf.shape], np.float32)
    for path, leaf in flatten_dict(scenic_params(), sep="/").items()
}
POSITIONS = "Transformer/posembed_input/pos_embedding"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"output_projection/kernel": (24, 400), "output_projection/bias": (400,)},
            "predicts 400 classes, the model 11: it was probably trained on another data set",
        ),
        ({POSITIONS: (1, 49, 24)}, f"Hint: {POSITIONS} has 49 positions, the model needs 97"),
        ({POSITIONS: (1, 49, 24)}, "the model's input is 8 frames of 16x24"),
        ({path: leaf.shape for path, leaf in WIDER.items()}, "hidden size is 36, the model's 24"),
        (
            {"embedding/kernel": (4, 4, 4, 3, 24)},
            "patches (frames, height, width, channels) are (4, 4, 4, 3), the model's (2, 4, 4, 3)",
        ),
    ],
)
def test_hints(misfit, changed, said):
    expected = flatten_dict(scenic_params(), sep="/")
    found = expected | {path: np.zeros(shape, np.float32) for path, shape in changed.items()}
    message = misfit(found, expected)
    assert said in message
    if len(changed) < 3:
        assert message.count("Hint:") == 1
    for path, shape in list(changed.items())[:2]:
        assert f"{path}: found {shape}, expected {expected[path].shape}" in message


def test_the_factorised_encoder_is_told_from_the_unfactorised_model(misfit):
    one, other = (flatten_dict(scenic_params(f"models/{name}"), sep="/") for name in ("vivit_spacetime", "vivit_fe"))
    assert "of the unfactorised ViViT; the model is the factorised" in misfit(one, other)
    assert "of the factorised encoder; the model is the unfactorised" in misfit(other, one)


def write(folder, kind, form, **changed):
    """A recorded model's weights, under our names or those of the released files."""
    tensors = RECORDED[kind].tensors if form == "released names" else flatten_dict(RECORDED[kind].params, sep="/")
    return write_safetensors(folder / "model.safetensors", tensors | changed)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_another_model_or_number_of_classes(tmp_path, kind, form):
    other = RECORDED[RECORDED[kind].other]
    message = refusal(write(tmp_path, other.kind, form), RECORDED[kind].model)
    assert message.count("Hint:") == 1
    source = "the tensors are named as in the files of" if form == FORMS[1] else "this is a checkpoint of"
    assert f"Hint: {source} {other.name}; the model is {RECORDED[kind].name}." in message
    assert "missing:" in message
    assert "unexpected:" in message
    more = RECORDED[kind].model.clone(num_classes=174)
    assert "Hint: the checkpoint predicts 10 classes, the model 174" in refusal(write(tmp_path, kind, form), more)


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("blocks.0.timeattn.qkv.weight", "Motionformer with divided attention"),
        ("patch_embed_3d.proj.weight", "Motionformer with joint attention"),
        ("mask_token", "VideoMAE's pre-training, which have no classifier"),
        ("cls_head.fc_cls.bias", "mmaction2"),
    ],
)
def test_files_that_no_model_here_reads_are_called_by_their_name(name, who):
    for kind in ("motionformer", "videomae"):
        message = refusal({name: np.zeros(3, np.float32)}, RECORDED[kind].model)
        assert f"named as in the files of {who}" in message
        assert f"; the model is {RECORDED[kind].name}." in message


@pytest.mark.parametrize("kind", KINDS)
def test_missing_extra_and_misshapen_tensors_are_all_named(kind):
    entry, tensors = RECORDED[kind], RECORDED[kind].tensors
    missing = next(name for name in tensors if name.endswith(("mlp.fc1.bias", "intermediate.dense.bias")))
    head = f"{entry.prefix}{entry.head}.weight"
    assert (tensors.pop(missing).shape, tensors[head].shape) == ((96,), (10, 48))
    # Of a square tensor's transpose the shape tells nothing, of this one's it does.
    wide = next(name for name in tensors if name.endswith(("mlp.fc1.weight", "intermediate.dense.weight")))
    tensors |= {f"{entry.prefix}decoder.weight": np.zeros((2, 2), np.float32), head: np.zeros((11, 48), np.float32)}
    tensors[wide] = tensors[wide].T
    message = refusal(tensors, entry.model)
    assert f"1 missing:\n    {missing.removeprefix(entry.prefix)}: expected (96,)" in message
    assert "1 unexpected:\n    decoder.weight: found (2, 2)" in message
    assert "2 of another shape:\n" in message
    assert f"    {entry.head}.weight: found (11, 48), expected (10, 48)" in message
    assert f"    {wide.removeprefix(entry.prefix)}: found (48, 96), expected (96, 48)" in message


@pytest.mark.parametrize("kind", ["timesformer", "motionformer", "videomae"])
def test_one_head_instead_of_two(kind):
    model = RECORDED[kind].model.clone(num_classes={"verb": 5, "noun": 7})
    with pytest.raises(CheckpointError, match=r"(?s)missing:.*head0\.weight.*head1\.weight.*unexpected:.*head\.weight"):
        from_torch_state_dict(RECORDED[kind].tensors, model)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["timesformer", "motionformer"])
def test_another_input_size_is_named_with_what_would_fit(tmp_path, kind, form):
    path, model = write(tmp_path, kind, form), RECORDED[kind].model
    depth = model.patch_size[0]
    other = model.clone(num_frames=2 * model.num_frames, image_size=(48, 64))
    message = refusal(path, other)
    assert message.count("Hint:") == 1
    assert "positions of 4 times and 16 places, the model asks for 8 and 48" in message
    assert f"Build the model with num_frames={4 * depth} and image_size=32; or keep {8 * depth} frames" in message
    assert "of 48x64 and let position_grid=(4, 4, 4) interpolate them" in message
    # Both pieces of advice are good.
    load_checkpoint(path, other.clone(num_frames=4 * depth, image_size=32))
    load_checkpoint(path, other.clone(position_grid=(4, 4, 4)))


def test_places_that_are_no_square_get_no_numbers():
    tensors = {**RECORDED["timesformer"].tensors, "model.pos_embed": np.zeros((1, 13, 48), np.float32)}
    none = {**tensors, "model.pos_embed": np.zeros((1, 0, 48), np.float32)}
    assert "Hint" not in refusal(none, RECORDED["timesformer"].model)
    message = refusal(tensors, RECORDED["timesformer"].model)
    assert "4 times and 12 places, the model asks for 4 and 16. Build the model with the check" in message


def test_types_and_values_of_tensors_are_spoken_of_under_our_names():
    tensors, model = RECORDED["videomae"].tensors, RECORDED["videomae"].model
    half = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    widened = from_torch_state_dict(half, model)["params"]["pooled_norm"]["bias"]
    np.testing.assert_array_equal(widened, half["model.fc_norm.bias"].astype(np.float32))
    double = {**half, "model.fc_norm.bias": tensors["model.fc_norm.bias"].astype(np.float64)}
    assert "pooled_norm/bias: found float64, expected float32" in refusal(double, model)
    broken = np.full(10, 0.5, np.float32)
    broken[:2] = [np.nan, np.inf]
    assert "output_projection/bias: 2 of 10 values" in refusal({**tensors, "model.head.bias": broken}, model)


def test_a_model_is_traced_once_and_each_caller_has_a_tree_of_its_own():
    traced = []

    @dataclasses.dataclass(frozen=True)
    class Counted(TreeModel):
        params: tuple = ()

        def init(self, key, video):
            traced.append(video.shape)
            return {"params": {"head": {"bias": jnp.zeros(3)}}}

    del abstract_params(Counted())["head"]["bias"]
    assert abstract_params(Counted())["head"]["bias"].shape == (3,)
    assert len(traced) == 1
