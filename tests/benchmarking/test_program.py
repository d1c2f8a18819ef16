"""Compiling, keeping the first tokens, weights, peaks and levels, on programs of a moment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counted_products import counted_macs
from tiny_models import PRESET_OF, tiny, video

from jax_vtm.benchmarks.levels import film_for, with_decoding
from jax_vtm.benchmarks.peaks import copy, matrix_product
from jax_vtm.benchmarks.program import compiled
from jax_vtm.benchmarks.sliced import keeping_the_first
from jax_vtm.benchmarks.weights import random_params
from jax_vtm.checkpoints.validate import abstract_params
from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction


def test_a_program_is_traced_once_and_found_in_the_cache_again(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "other"))
    try:
        x = jnp.arange(8.0)
        program = compiled(lambda values: jnp.sort(values)[::-1] * 2, x, cache_folder=str(tmp_path / "fresh"))
        np.testing.assert_array_equal(program.run(x), np.arange(8.0)[::-1] * 2)
        np.testing.assert_array_equal(program.run(x + 1), np.arange(1.0, 9.0)[::-1] * 2)
        assert program.traces == 1
        assert program.compile_s > 0
        assert program.cached_compile_s is not None
        assert program.memory is not None
        assert program.memory["arguments"] == program.memory["outputs"] == x.nbytes
        # One entry: the second compilation was answered by the first's. The user's own cache is back, and was not used.
        assert len([path for path in (tmp_path / "fresh").iterdir() if path.name.endswith("-cache")]) == 1
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "other")
        assert not list((tmp_path / "other").glob("*-cache"))
        assert compiled(jnp.sin, x).cached_compile_s is None
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


@pytest.mark.parametrize(("kind", "mode"), [(kind, "merge") for kind in PRESET_OF] + [("vivit", "drop")])
def test_keeping_the_first_tokens_is_the_model_without_its_matching(kind, mode):
    model = tiny(kind, Reduction(r=4, mode=mode), matching="xla")
    params, clips = abstract_params(model), jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)

    def forward(params, clips):
        return model.apply({"params": params}, clips)

    sliced = keeping_the_first(forward)
    assert jax.eval_shape(sliced, params, clips).shape == (1, 5)
    macs = model.macs
    assert macs.matching > 0
    assert counted_macs(sliced, params, clips) == macs.total - macs.matching
    # Afterwards the model is as before.
    assert counted_macs(forward, params, clips) == macs.total


def test_what_is_left_computes_with_the_first_tokens():
    model = tiny("vivit", Reduction(r=4))
    params, clips = random_params(model), video(model)
    run = jax.jit(lambda clips: keeping_the_first(model.apply)({"params": params}, clips))
    logits = run(clips)
    assert bool(jnp.all(jnp.isfinite(logits)))
    assert float(jnp.max(jnp.abs(logits - jax.jit(model.apply)({"params": params}, clips)))) > 1e-3


def test_without_a_reduction_everything_is_kept():
    model = tiny("vivit")
    params, clips = abstract_params(model), jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)

    def forward(params, clips):
        return model.apply({"params": params}, clips)

    programs = [str(jax.make_jaxpr(call)(params, clips)) for call in (forward, keeping_the_first(forward))]
    assert programs[0] == programs[1]


def test_random_weights_fit_and_keep_the_signal_at_its_size():
    model = tiny("vivit", num_layers=3)
    params = random_params(model)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, abstract_params(model))
    logits = jax.jit(model.apply)({"params": params}, video(model))
    assert 0.05 < float(jnp.std(logits)) < 20
    jax.tree.map(np.testing.assert_array_equal, params, random_params(model))


def test_peaks_say_what_they_did():
    product, passed = matrix_product(16, "bfloat16"), copy(4096)
    assert (product.amount, product.unit) == (16**3, "MAC")
    assert (passed.amount, passed.unit) == (8192, "byte")
    assert product.measured(2) > 0
    assert passed.measured(1) > 0


def test_films_are_seen_in_whole_batches(tmp_path):
    seen = []

    def run(clips):
        seen.append(clips.shape)
        return jnp.sum(clips)

    device = jax.local_devices()[0]
    through, count = with_decoding(run, tmp_path, (4, 32, 32, 3), 2, 5, device, 2)
    assert count == 6
    through()
    through()
    assert seen == [(2, 4, 32, 32, 3)] * 6
    film = film_for(128, 224)
    assert (film.height, film.width) == (256, 340)
    assert film.fps * film.seconds >= 2 * 128
    with pytest.raises(UserError, match="the model takes 32 x 64 pixels"):
        with_decoding(run, tmp_path, (4, 32, 64, 3), 2, 5, device, 2)
