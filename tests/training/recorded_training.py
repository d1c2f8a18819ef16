"""Recorded runs of Scenic's and VideoMAE's trainers, as arguments of ours."""

import json
import pathlib
from types import SimpleNamespace

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

SCENIC = pathlib.Path(__file__).parents[1] / "golden" / "training" / "scenic"
VIDEOMAE = SCENIC.with_name("videomae")


def load(path: pathlib.Path) -> SimpleNamespace:
    """The settings and the arrays of one recording."""
    arrays = np.load(path.with_suffix(".npz")) if path.with_suffix(".npz").exists() else {}
    return SimpleNamespace(settings=json.loads(path.with_suffix(".json").read_text()), arrays=arrays)


def tree(arrays, prefix: str):
    """The arrays below a prefix as a nested dict."""
    names = [name for name in arrays if name.startswith(f"{prefix}/")]
    return unflatten_dict({name.removeprefix(f"{prefix}/"): arrays[name] for name in names}, sep="/")


def assert_trees_close(found, expected, **tolerance):
    found, expected = flatten_dict(found, sep="/"), flatten_dict(expected, sep="/")
    assert set(found) == set(expected)
    for name, leaf in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), leaf, err_msg=name, **tolerance)
