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
from jax_vtm.models.attention import attend, choose_backend, chunked, cudnn


def with_cudnn(query, key, value, bias):
    """What cuDNN is handed, computed in its place as it does: sums in float32."""
    *parts, scale = cudnn.prepare(query, key, value, bias)
    attended = jax.nn.dot_product_attention(*(part.astype(jnp.float32) for part in parts), scale=scale)
    return attended[..., : query.shape[-1]].astype(value.dtype)


WAYS = {
    "xla": functools.partial(attend, backend="xla"),
    "chunked": functools.partial(attend, backend="chunked"),
    "auto": attend,
    "cudnn": with_cudnn,
}
jitted = {name: jax.jit(way) for name, way in WAYS.items()}

# Queries, keys, heads, width: no multiple of any tile, a class token alone, just a tile, more than one tile of 128.
SHAPES = [(13, 11, 3, 5), (1, 7, 2, 16), (128, 128, 1, 8), (130, 197, 2, 64)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("way", WAYS)
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
def test_queries_that_several_rows_of_keys_share(way):
    query, key, value, bias = draw(0, 13, 11, 3, 5, batch=6)
    flat = jitted[way](jnp.repeat(query[:2], 3, axis=0), key, value, bias)
    grouped = WAYS[way](query[:2], *(part.reshape(2, 3, *part.shape[1:]) for part in (key, value, bias)))
    np.testing.assert_allclose(grouped, flat.reshape(2, 3, *flat.shape[1:]), rtol=1e-6, atol=1e-6)


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


# Queries, keys and width: of ViViT-B, TimeSformer-B over time, a class token's query, a long clip, a wide head.
@pytest.mark.parametrize(
    ("tokens", "tpu", "gpu"),
    [
        ((3137, 3137, 64), "tpu_flash", "cudnn"),
        ((197, 197, 80), "tpu_flash", "cudnn"),
        ((8, 8, 64), "xla", "xla"),
        ((1, 1569, 64), "xla", "xla"),
        ((12545, 12545, 64), "chunked", "cudnn"),
    ],
)
def test_a_backend_is_chosen_by_shape(tokens, tpu, gpu):
    queries, keys, width = tokens
    shape = (queries, keys, 12, width)
    for asked in ("auto", "tpu_flash"):
        assert choose_backend(asked, "tpu", dtype="bfloat16", shape=shape) == tpu
    for asked in ("auto", "cudnn"):
        assert choose_backend(asked, "gpu", dtype="bfloat16", shape=shape) == gpu
    # A kernel has its types; other backends compute whatever they are asked for.
    for platform in ("tpu", "gpu"):
        assert choose_backend("auto", platform, shape=shape) == "xla"
        assert choose_backend("chunked", platform, dtype="bfloat16", shape=shape) == "chunked"
    assert choose_backend("auto", "cpu", dtype="bfloat16", shape=shape) == "chunked"


def test_cudnn_is_not_chosen_for_heads_that_it_does_not_take():
    wide = (256, 256, 4, 128)
    assert choose_backend("auto", "gpu", dtype="bfloat16", shape=wide) == "xla"
    # Asked for, it says so when it is handed them.
    assert choose_backend("cudnn", "gpu", dtype="bfloat16", shape=wide) == "cudnn"


def test_unknown_backend():
    with pytest.raises(UserError, match="'flash'; known are auto, xla, chunked, cudnn, tpu_flash"):
        attend(*draw(0, 1, 1, 1, 1), backend="flash")
