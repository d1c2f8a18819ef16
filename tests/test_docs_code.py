"""The code in the docs runs, and does what they say."""

import json
import pathlib
import re
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jax_vtm.merging import Reduction

DOCS = pathlib.Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def page():
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / "your_own_model.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    scope: dict = {}
    exec("\n".join(blocks), scope)
    return scope


def test_the_linen_block_keeps_the_parameters_and_outputs_of_flaxs_own_attention(page):
    class Plain(nn.Module):
        """The same encoder without merging, as Scenic writes it."""

        @nn.compact
        def __call__(self, x):
            for layer in range(3):
                block = f"encoderblock_{layer}"
                x = PlainBlock(name=block)(x)
            return nn.LayerNorm(name="encoder_norm")(x)

    class PlainBlock(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(2)(y, y)
            y = nn.gelu(nn.Dense(128)(nn.LayerNorm()(x)))
            return x + nn.Dense(32)(y)

    shapes = jax.tree.map(jnp.shape, page["variables"])
    plain = jax.eval_shape(Plain().init, jax.random.key(0), page["tokens"])
    assert flatten_dict(shapes) == flatten_dict(jax.tree.map(jnp.shape, plain))
    unmerged = page["Encoder"](num_heads=2, num_layers=3, reduction=Reduction(mode="none"))
    found, _ = jax.jit(unmerged.apply)(page["variables"], page["tokens"])
    expected: Any = jax.jit(Plain().apply)(page["variables"], page["tokens"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pooled_and_restored_features_are_of_the_shapes_and_groups_that_the_page_says(page):
    assert page["mean"].shape == (2, 32)
    assert page["restored"].shape == page["dense"].shape == (2, 65, 32)
    matching, fewer = page["matching"], page["fewer"]
    # Every token that went has what its destination became.
    clip = np.arange(2)[:, None]
    np.testing.assert_array_equal(page["restored"][clip, matching.src], fewer[clip, matching.dst])
    np.testing.assert_array_equal(page["state"].size.sum(1), [65, 65])


def test_dense_features_are_of_the_shape_that_the_page_says():
    block = re.findall(r"^```python\n(.*?)^```", (DOCS / "reductions.md").read_text(), re.DOTALL | re.MULTILINE)[-1]
    scope: dict = {}
    # Traced, which says the shape without computing.
    jax.eval_shape(lambda: exec(block, scope))
    assert scope["features"].shape == (4, 8, 8, 8, 64)


def test_the_page_is_short_enough_to_be_read():
    text = (DOCS / "your_own_model.md").read_text()
    first = re.findall(r"^class MergingBlock.*?(?=^model = )", text, re.DOTALL | re.MULTILINE)[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 40


def test_the_tour_runs_and_comes_to_what_its_cells_show(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(plt, "show", plt.close)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = DOCS / "tour.ipynb"
    # Pictures are small, so that the file is.
    assert path.stat().st_size < 150_000
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    scope: dict = {}
    for cell in cells:
        exec("".join(cell["source"]), scope)
        shown = [output for output in cell["outputs"] if output["output_type"] == "stream"]
        assert capsys.readouterr().out == "".join("".join(output["text"]) for output in shown)
    assert scope["cost"]["merge", 138] < 0.6
    assert scope["right"]["merge", 138].mean() > scope["right"]["random_merge", 208].mean()
