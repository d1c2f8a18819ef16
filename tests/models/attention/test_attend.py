"""Every way of computing attention that runs on a CPU, against float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64_attention import check, draw, exact
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.errors import UserError
from jax_vtm.models.attention import attend, chunked, cudnn, tpu_flash


def fused(prepare, heads_first, query, key, value, bias):
    """What a fused kernel without a bias is handed, computed in its place as it does: sums in float32."""
    num_queries, width = query.shape[1], query.shape[-1]
    *parts, scale = prepare(query, key, value, bias)
    parts = [(part.swapaxes(1, 2) if heads_first else part).astype(jnp.float32) for part in parts]
    return jax.nn.dot_product_attention(*parts, scale=scale)[:, :num_queries, :, :width].astype(value.dtype)


WAYS = {
    "xla": functools.partial(attend, backend="xla"),
    "chunked": functools.partial(attend, backend="chunked"),
    "auto": attend,
    "cudnn": functools.partial(fused, cudnn.prepare, False),
    "tpu_flash": functools.partial(fused, tpu_flash.prepare, True),
}
jitted = {name: jax.jit(way) for name, way in WAYS.items()}

# Queries, keys, heads, width: no multiple of any tile, a class token alone, just a tile, more than one tile of 128.
SHAPES = [(13, 11, 3, 5), (1, 7, 2, 16), (128, 128, 1, 8), (130, 197, 2, 64)]


# The TPU kernel is chosen for no other type than bfloat16; float32 shows here what is not the type's doing.
TYPES = [(way, dtype) for way in WAYS for dtype in ("float32", "bfloat16", "float16")]
TYPES.remove(("tpu_flash", "float16"))


@pytest.mark.parametrize(("way", "dtype"), TYPES)
@given(shape=st.sampled_from(SHAPES), biased=st.booleans(), seed=st.integers(0, 2**16))
def test_against_float64(way, dtype, shape, biased, seed):
    *parts, bias = draw(seed, *shape, jnp.dtype(dtype))
    bias = bias if biased else None
    check(jitted[way](*parts, bias), *parts, bias)


@pytest.mark.parametrize("way", WAYS)
def test_a_token_of_size_two_counts_as_two(way):
    query, key, value, bias = draw(0, 13, 11, 3, 16)
    twice = [np.concatenate([part, part[:, :1]], axis=1) for part in (key, value)]
    bias = jnp.zeros_like(bias).at[:, 0].set(jnp.log(2.0))
    np.testing.assert_allclose(jitted[way](query, key, value, bias), exact(query, *twice), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("way", ["xla", "chunked"])
@pytest.mark.parametrize("axes", [(), (2, 3)], ids=str)
def test_no_batch_and_more_batch_axes(way, axes):
    query, key, value, bias = draw(0, 13, 11, 3, 5, batch=6)
    flat = jitted[way](query, key, value, bias)
    several = [part.reshape(*axes, *part.shape[1:]) if axes else part[0] for part in (query, key, value, bias)]
    expected = flat.reshape(*axes, *flat.shape[1:]) if axes else flat[0]
    np.testing.assert_allclose(WAYS[way](*several), expected, rtol=1e-6, atol=1e-6)


# All in one tile; several heads in one, a number that does not divide them; parts of a head, the last one ragged (13 =
# 3 * 4 + 1), because of the tile or of the queries; one query at a time.
@pytest.mark.parametrize(
    ("tile", "queries"), [(2**20, 768), (2 * 13 * 11 * 4, 768), (4 * 11 * 4, 768), (2**20, 3), (1, 768)]
)
def test_tiles_do_not_change_results_or_gradients(monkeypatch, tile, queries):
    monkeypatch.setattr(chunked, "tile_bytes", lambda: tile)
    monkeypatch.setattr(chunked, "QUERIES", queries)
    inputs = draw(1, 13, 11, 3, 5)
    check(attend(*inputs, backend="chunked"), *inputs)

    def gradients(backend):
        def loss(*inputs):
            return (attend(*inputs, backend=backend) ** 2).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*inputs)

    for plain, tiled in zip(gradients("xla"), gradients("chunked"), strict=True):
        assert np.abs(plain).max() > 0
        np.testing.assert_allclose(plain, tiled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", ["xla", "chunked"])
def test_large_scores_do_not_overflow(way):
    query, key, value, bias = draw(2, 13, 11, 3, 16)
    parts = (100 * query, key, value, bias)
    found = jitted[way](*parts)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, exact(*parts), rtol=1e-3, atol=1e-3)


def test_chunked_never_holds_all_scores(monkeypatch):
    monkeypatch.setattr(chunked, "tile_bytes", lambda: 28 * 2**20)
    shape = jax.ShapeDtypeStruct((1, 1600, 12, 64), jnp.float32)
    bias = jax.ShapeDtypeStruct((1, 1600), jnp.float32)

    def program(way, sequence=shape, bias=bias):
        # Traced anew, with this test's tiles.
        return jax.jit(lambda *inputs: WAYS[way](*inputs)).lower(sequence, sequence, sequence, bias).compile().as_text()

    assert "12,1600,1600]" in program("xla")
    assert "1600,1600]" not in program("chunked")
    # Two parts of a head, since 1600 queries are 768 twice.
    assert "[800,1600]" in program("chunked")


def test_a_tile_is_of_many_queries_and_fits_into_the_cache(monkeypatch):
    monkeypatch.setattr(chunked, "tile_bytes", lambda: 28 * 2**20)
    # ViViT-B with 128 frames, 64, 32 and on its way through the layers.
    found = {tokens: chunked.best_tile(tokens, tokens) for tokens in (12545, 6273, 3137, 1937, 1037, 137)}
    assert found[12545] == (571, 1)
    assert found[6273] == (785, 1)
    assert found[3137] == (785, 1)
    assert found[1937] == (969, 1)
    assert found[1037] == (1037, 6)
    assert found[137] == (137, 391)


def test_a_tile_fits_into_the_cache(monkeypatch, tmp_path):
    def with_cache(text):
        (tmp_path / "size").write_text(text)
        monkeypatch.setattr(chunked, "LAST_CACHE", tmp_path / "size")
        chunked.tile_bytes.cache_clear()
        return chunked.tile_bytes()

    assert with_cache("16384K\n") == 14 * 2**20
    assert with_cache("262144K\n") == 28 * 2**20
    assert with_cache("unknown") == 7 * 2**20
    (tmp_path / "size").unlink()
    chunked.tile_bytes.cache_clear()
    assert chunked.tile_bytes() == 7 * 2**20
    chunked.tile_bytes.cache_clear()


def test_unknown_backend():
    with pytest.raises(UserError, match="'flash'; known are auto, xla, chunked, cudnn, tpu_flash"):
        attend(*draw(0, 1, 1, 1, 1), backend="flash")
