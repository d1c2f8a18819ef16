"""Recorded parameters and tensors, the models that take them, and one that asks for any given tree."""

import dataclasses
import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict, load_checkpoint
from jax_vtm.models import create_model

GOLDEN = Path(__file__).parents[1] / "golden"
SCENIC, TORCH = GOLDEN / "scenic", GOLDEN / "torch"
SCENICS = SCENIC / "checkpoints"
KINDS = ("vivit", "timesformer", "motionformer", "videomae")


@dataclasses.dataclass(frozen=True)
class TreeModel:
    """Asks for a given parameter tree; what a checkpoint is compared with, without a network."""

    params: dict
    input_shape: tuple = (8, 16, 24, 3)
    heads: tuple = (("", 11),)

    def init(self, key, video):
        assert video.shape == (1, *self.input_shape)
        leaves = flatten_dict(self.params, sep="/")
        zeros = {path: jnp.zeros(leaf.shape, leaf.dtype) for path, leaf in leaves.items()}
        return {"params": unflatten_dict(zeros, sep="/")}


@functools.cache
def scenic_params(name: str = "models/vivit_spacetime") -> dict:
    """The `param/<path>` entries of a recorded npz as a nested dict."""
    with np.load(SCENIC / f"{name}.npz") as arrays:
        names = [name for name in arrays.files if name.startswith("param/")]
        return unflatten_dict({name.removeprefix("param/"): arrays[name] for name in names}, sep="/")


def spacetime_model() -> TreeModel:
    """What the unfactorised ViViT that was recorded asks for."""
    return TreeModel(scenic_params())


@functools.cache
def hugging_face_vivit() -> tuple[TreeModel, dict[str, np.ndarray]]:
    """A recorded ViViT, and its tensors in Hugging Face's file."""
    model = TreeModel(scenic_params("hf/scenic"), input_shape=(8, 16, 16, 3), heads=(("", 7),))
    return model, load_file(SCENIC / "hf" / "model.safetensors")


def refusal(path: object, model: object) -> str:
    """What is said of a file, or of tensors by name, that does not fit a model."""
    with pytest.raises(CheckpointError) as caught:
        from_torch_state_dict(path, model) if isinstance(path, dict) else load_checkpoint(path, model)
    assert "\x1b" not in str(caught.value)
    return str(caught.value)


def assert_same_tree(found: dict, expected: dict) -> None:
    """Same names, dtypes, shapes and bits, all of it in numpy arrays."""
    found, expected = (flatten_dict(tree.get("params", tree), sep="/") for tree in (found, expected))
    assert sorted(found) == sorted(expected)
    for path, leaf in expected.items():
        assert type(found[path]) is np.ndarray, path
        assert (found[path].dtype, found[path].shape) == (leaf.dtype, leaf.shape), path
        assert found[path].tobytes() == leaf.tobytes(), path


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


def write_index(path: Path, tensors: dict[str, np.ndarray], shards: int = 2) -> Path:
    """Writes an index and its parts, and returns the first part."""
    homes = {name: f"part-{place % shards}.safetensors" for place, name in enumerate(sorted(tensors))}
    for home in set(homes.values()):
        write_safetensors(path.parent / home, {name: tensors[name] for name in tensors if homes[name] == home})
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": homes}))
    return path.parent / "part-0.safetensors"


@dataclasses.dataclass(frozen=True)
class RecordedTensors:
    """The PyTorch reference's recorded tensors of one kind of model.

    Attributes:
        kind: Its name in the manifest.
        name: What messages call it.
        preset: Ours.
        prefix: What all recorded names begin with.
        head: Name of the layer that predicts, without the prefix.
        containers: Keys under which the released files hold their tensors.
        other: A kind whose file this model must refuse.
    """

    kind: str
    name: str
    preset: str
    prefix: str
    head: str
    containers: tuple[str, ...]
    other: str

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that was recorded under a parameter's name."""
        with np.load(TORCH / f"model_{self.kind}.npz") as file:
            return {name: file[name] for name in file.files if name.startswith("param")}

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The file's tensors, in a dict that a test may change."""
        return {name.removeprefix("param/"): a for name, a in self.arrays.items() if name.startswith("param/")}

    @property
    def two_heads(self) -> dict[str, np.ndarray]:
        """The tensors of the variant with the heads verb and noun."""
        one = {name: a for name, a in self.tensors.items() if not name.startswith(f"{self.prefix}{self.head}.")}
        extra = {name.removeprefix("param_ek/"): a for name, a in self.arrays.items() if "param_ek/" in name}
        return one | extra

    @functools.cached_property
    def model(self):
        """The recorded architecture."""
        size = json.loads((TORCH / "manifest.json").read_text())["models"][self.kind]["config"]
        return create_model(
            self.preset,
            num_classes=10,
            image_size=size["image"],
            num_frames=size["frames"],
            patch_size=(size["tubelet"], size["patch"], size["patch"]),
            hidden_size=size["dim"],
            num_heads=size["heads"],
            num_layers=size["depth"],
            mlp_dim=size["dim"] * size["mlp_ratio"],
        )

    @functools.cached_property
    def tree(self) -> TreeModel:
        """What is asked for of a file is the same as of the model's, and is found much faster."""
        return TreeModel(self.params, self.model.input_shape, self.model.heads)

    @functools.cached_property
    def params(self) -> dict:
        """What the model must get."""
        return from_torch_state_dict(self.tensors, self.model)["params"]


RECORDED = {
    entry.kind: entry
    for entry in (
        RecordedTensors("vivit", "the unfactorised ViViT", "vivit_b_16x2", "", "classifier", (), "videomae"),
        RecordedTensors(
            "timesformer", "TimeSformer", "timesformer_b_8", "model.", "head", ("model_state",), "motionformer"
        ),
        RecordedTensors("motionformer", "Motionformer", "motionformer_b_16", "", "head", ("model_state",), "videomae"),
        RecordedTensors("videomae", "VideoMAE", "videomae_b_16", "model.", "head", ("module", "model"), "timesformer"),
    )
}
VIDEOMAE = RECORDED["videomae"].tree
# Without the prefix, as the authors name them.
VIDEOMAES = {name.removeprefix("model."): tensor for name, tensor in RECORDED["videomae"].tensors.items()}
