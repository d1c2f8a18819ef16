"""Recorded checkpoints, the parameters they must give, and a stand-in that asks for a given tree."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

GOLDEN = Path(__file__).parents[1] / "golden" / "scenic"


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


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def tree_model():
    return TreeModel


@pytest.fixture(scope="session")
def read_params():
    """Reads the `param/<path>` entries of a recorded npz as a nested dict."""

    def read(path: Path) -> dict:
        with np.load(path) as arrays:
            names = [name for name in arrays.files if name.startswith("param/")]
            return unflatten_dict({name.removeprefix("param/"): arrays[name] for name in names}, sep="/")

    return read


@pytest.fixture(scope="session")
def spacetime_params(read_params):
    return read_params(GOLDEN / "models" / "vivit_spacetime.npz")


@pytest.fixture(scope="session")
def spacetime_model(spacetime_params):
    return TreeModel(spacetime_params)


@pytest.fixture(scope="session")
def assert_same_tree():
    """Same names, dtypes, shapes and bits, all of it in numpy arrays."""

    def check(found: dict, expected: dict) -> None:
        found, expected = flatten_dict(found, sep="/"), flatten_dict(expected, sep="/")
        assert sorted(found) == sorted(expected)
        for path, leaf in expected.items():
            assert type(found[path]) is np.ndarray, path
            assert found[path].dtype == leaf.dtype, path
            assert found[path].shape == leaf.shape, path
            assert found[path].tobytes() == leaf.tobytes(), path

    return check


@pytest.fixture
def replace_leaf():
    """A copy of a tree in which the leaf at `path` is another one; None removes it."""

    def replace(tree: dict, path: str, leaf) -> dict:
        leaves = {**flatten_dict(tree, sep="/"), path: leaf}
        return unflatten_dict({name: value for name, value in leaves.items() if value is not None}, sep="/")

    return replace
