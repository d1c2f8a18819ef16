"""Compiling, the truncation baseline, weights, peaks and scopes, on programs of a moment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counted_products import counted_macs
from tiny_models import PRESET_OF, tiny, video

from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.benchmarks.program import compiled, copy, matrix_product, truncation
from jax_vtm.benchmarks.scopes import end_to_end, video_for
from jax_vtm.benchmarks.videos import EncodedVideo, written_video
from jax_vtm.checkpoints.validate import abstract_params
from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction


def test_a_program_is_traced_once_and_found_in_the_cache_again(tmp_path):
    x = jnp.arange(8.0)
    above = x + 1
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "other"))
    program = compiled(lambda values: jnp.sort(values)[::-1] * 2, x, cached=True)
    np.testing.assert_array_equal(program.run(x), np.arange(8.0)[::-1] * 2)
    np.testing.assert_array_equal(program.run(above), np.arange(1.0, 9.0)[::-1] * 2)
    assert program.facts["traces"] == 1
    assert program.facts["compile_s"] > 0
    assert program.facts["cached_compile_s"] is not None
    assert program.facts["program_bytes"]["arguments"] == program.facts["program_bytes"]["outputs"] == x.nbytes
    # The user's own cache is back, and was not used.
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "other")
    assert not list((tmp_path / "other").glob("*-cache"))
    assert compiled(jnp.sin, x).facts["cached_compile_s"] is None


@pytest.mark.parametrize(("kind", "mode"), [(kind, "merge") for kind in PRESET_OF] + [("vivit", "drop")])
def test_keeping_the_first_tokens_is_the_model_without_its_matching(kind, mode):
    model = tiny(kind, Reduction(r=4, mode=mode), matching="xla")
    params, clips = abstract_params(model), jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)

    def forward(params, clips):
        return model.apply({"params": params}, clips)

    truncated = truncation(forward)
    assert jax.eval_shape(truncated, params, clips).shape == (1, 5)
    macs = model.macs
    assert macs.matching > 0
    assert counted_macs(truncated, params, clips) == macs.total - macs.matching
    # Afterwards the model is as before.
    assert counted_macs(forward, params, clips) == macs.total


def test_what_is_left_computes_with_the_first_tokens():
    model = tiny("vivit", Reduction(r=4))
    params, clips = random_params(model), video(model)
    run = jax.jit(lambda clips: truncation(model.apply)({"params": params}, clips))
    logits = run(clips)
    assert bool(jnp.all(jnp.isfinite(logits)))
    assert float(jnp.max(jnp.abs(logits - jax.jit(model.apply)({"params": params}, clips)))) > 1e-3


def test_without_a_reduction_everything_is_kept():
    model = tiny("vivit")
    params, clips = abstract_params(model), jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)

    def forward(params, clips):
        return model.apply({"params": params}, clips)

    programs = [str(jax.make_jaxpr(call)(params, clips)) for call in (forward, truncation(forward))]
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
    assert product.timer(2).wall > 0
    assert passed.timer(1).wall > 0


def test_videos_are_seen_in_whole_batches(tmp_path):
    seen = []

    def run(clips):
        seen.append(clips.shape)
        return jnp.sum(clips)

    device, shape = jax.local_devices()[0], (4, 32, 32, 3)
    path = written_video(video_for(shape), tmp_path)
    through, count = end_to_end(run, path, shape, 2, 5, device, 2)
    assert count == 6
    through()
    through()
    assert seen == [(2, 4, 32, 96)] * 6
    large = video_for((128, 224, 224, 3))
    assert (large.height, large.width) == (256, 340)
    assert large.fps * large.seconds >= 2 * 128
    with pytest.raises(UserError, match="the model takes 32 x 64 pixels"):
        video_for((4, 32, 64, 3))


def test_a_video_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "videos").write_text("in its place")
    video = EncodedVideo("a.mp4", "libx264", {}, fps=1, seconds=1, height=32, width=32)
    with pytest.raises(UserError, match="videos: cannot be written"):
        written_video(video, tmp_path / "videos")
