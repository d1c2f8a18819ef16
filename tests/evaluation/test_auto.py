"""What "auto" takes where it measures, with backends registered for it; here, a CPU is taken for another device."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_backend_trials import failing, slightly_wrong, slow

from jax_vtm.evaluation import Variant, auto
from jax_vtm.evaluation.auto import fastest, parts_of, with_fastest_backends
from jax_vtm.evaluation.backend_trials import attention, merging
from jax_vtm.merging import Reduction
from jax_vtm.merging.backends.choice import Measured
from jax_vtm.models import create_model
from jax_vtm.models.attention import choose_along_trajectories, choose_backend, choose_over_frames


def registered(tokens: int, **more):
    part = attention(1, tokens, tokens, 2, 8, "float32")
    return dataclasses.replace(part, backends={"slow": slow, "xla": part.backends["xla"], **more})


def test_the_fastest_that_agrees_is_taken_and_others_are_named(tmp_path):
    found = fastest([registered(19, wrong=slightly_wrong, broken=failing), merging(1, 19, 3, 8)], tmp_path)
    assert list(found) == ["attention", "merging"]
    assert found["attention"].at == (((19, 19, 2, 8), "xla"),)
    (said,) = found["attention"].said
    assert said.startswith("attention of 19 x 19 x 2 x 8: xla, ")
    assert " times as fast as slow" in said
    assert "wrong left out: differs by 0.0003 from the plain form, more than 0.0001" in said
    assert "broken left out: fails: no such kernel on this device" in said
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert kept["device"] == jax.local_devices()[0].device_kind
    assert kept["versions"].keys() == {"jax", "jaxlib", "jax_vtm", "platform"}


def test_a_choice_is_kept_for_the_same_shapes_and_backends_alone(tmp_path):
    calls = []

    def counted(*inputs):
        calls.append(inputs[0].shape)
        return attention(1, 19, 19, 2, 8, "float32").backends["xla"](*inputs)

    first = fastest([registered(19, other=counted)], tmp_path)
    assert len(calls) == 1, "compiled once"
    assert fastest([registered(19, other=counted)], tmp_path) == first
    assert len(calls) == 1
    fastest([registered(21, other=counted)], tmp_path)
    assert len(calls) == 2
    for path in tmp_path.iterdir():
        path.write_text("{damaged")
    assert fastest([registered(19, other=counted)], tmp_path)["attention"].at[0][0] == (19, 19, 2, 8)
    assert sorted(path.read_text() == "{damaged" for path in tmp_path.iterdir()) == [False, True], "measured anew"


def test_where_none_agrees_the_plain_form_is_taken_and_said(tmp_path):
    part = dataclasses.replace(registered(19), backends={"wrong": slightly_wrong, "broken": failing})
    found = fastest([part, dataclasses.replace(merging(1, 19, 3, 8), backends={"broken": failing})], tmp_path)
    assert {field: one.at[0][1] for field, one in found.items()} == {"attention": "xla", "merging": "scatter"}
    assert found["attention"].said == (
        "attention of 19 x 19 x 2 x 8: xla, the plain form, since no backend agrees with it, wrong left out: "
        "differs by 0.0003 from the plain form, more than 0.0001, broken left out: fails: no such kernel on this "
        "device",
    )
    assert found == fastest([part, dataclasses.replace(merging(1, 19, 3, 8), backends={"broken": failing})], tmp_path)


def test_where_the_plain_form_fails_auto_is_what_it_is_without_measuring(tmp_path):
    found = fastest([dataclasses.replace(registered(19), plain=failing)], tmp_path)["attention"]
    assert found.said == (
        "attention of 19 x 19 x 2 x 8: not measured, since the plain form fails: no such kernel on this device",
    )
    for platform, dtype, name in (
        ("tpu", "bfloat16", "tpu_flash"),
        ("gpu", "float32", "xla"),
        ("cpu", None, "chunked"),
    ):
        assert choose_backend(found, platform, dtype=dtype) == choose_backend("auto", platform, dtype=dtype) == name


def test_attention_over_frames_and_shared_queries_are_tried_as_the_models_have_them(tmp_path):
    timesformer = create_model("timesformer_b_8", num_classes=5, **SIZES)
    (over_frames,) = {
        part.shape: part for part in parts_of(timesformer) if part.what == "attention over frames"
    }.values()
    assert over_frames.shape == (4, 4, 2, 8)
    assert [one.shape for one in over_frames.make()] == [(2, 4, 4, 2, 8)] * 3
    motionformer = create_model("motionformer_b_16", num_classes=5, **SIZES)
    (trajectories,) = {part.shape: part for part in parts_of(motionformer) if part.shape[0] == 8}.values()
    assert [one.shape for one in trajectories.make()] == [(2, 8, 2, 8), *[(2, 2, 4, 2, 8)] * 2, (2, 2, 4)]
    found = fastest([over_frames, trajectories], tmp_path)["attention"]
    assert [shape for shape, _ in found.at] == [(4, 4, 2, 8), (8, 4, 2, 8)]
    assert [line.partition(":")[0] for line in found.said] == [
        "attention over frames of 4 x 4 x 2 x 8",
        "attention of 8 x 4 x 2 x 8",
    ]


def test_attention_over_frames_goes_by_its_own_shape():
    measured = Measured((((197, 197, 12, 64), "chunked"), ((8, 8, 12, 64), "tpu_flash")))
    over = functools.partial(choose_over_frames, platform="tpu", dtype="bfloat16")
    assert over(measured, shape=(8, 8, 12, 64)) == "tpu_flash"
    assert over(measured, shape=(96, 96, 12, 64)) == "chunked", "nearer to a frame's"
    assert over("tpu_flash", shape=(8, 8, 12, 40)) == "xla", "no kernel for such heads"
    assert choose_backend(measured, "tpu", dtype="bfloat16", shape=(8, 8, 12, 64)) == "xla", "not over frames"


def test_attention_along_trajectories_is_tried_where_it_is_not_folded(tmp_path):
    motionformer = create_model("motionformer_b_16", num_classes=5, platform="gpu", **SIZES)
    (along,) = {part.shape: part for part in parts_of(motionformer) if "along" in part.what}.values()
    assert (along.shape, along.field) == ((1, 2, 2, 8), "attention")
    assert [one.shape for one in along.make()] == [(2, 8, 2, 8), (2, 2, 8, 16), (16, 2, 8)]
    assert fastest([along], tmp_path)["attention"].at == ((along.shape, "xla"),)


def test_attention_along_trajectories_goes_by_its_own_shape():
    measured = Measured((((1568, 196, 12, 64), "tpu_flash"), ((1, 8, 12, 64), "xla")))
    along = functools.partial(choose_along_trajectories, platform="tpu", dtype="bfloat16")
    assert along(measured, shape=(1, 8, 12, 64)) == "xla"
    assert along("auto", shape=(1, 8, 12, 64)) == "tpu_flash"
    assert along("auto", shape=(1, 8, 12, 40)) == "xla", "no kernel for such heads"


def test_no_shape_is_begun_after_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "SECONDS", -1.0)
    assert fastest([registered(19, broken=failing)], tmp_path) == {}


def test_the_nearest_measured_shape_counts():
    measured = Measured((((3137, 3137, 12, 64), "kernel"), ((437, 437, 12, 64), "chunked"), ((8, 8, 12, 64), "xla")))
    for shape, name in {(2837, 2837): "kernel", (300, 300): "chunked", (9, 8): "xla", (): "kernel"}.items():
        assert measured.nearest(shape) == name


SIZES = {"image_size": 32, "num_frames": 4, "num_layers": 2, "hidden_size": 16, "num_heads": 2, "mlp_dim": 16}


@pytest.mark.parametrize(
    ("preset", "attentions", "merges"),
    [
        ("vivit_b_16x2", {(9, 9), (7, 7)}, {(9, 2), (7, 2)}),
        ("videomae_b_16", {(8, 8), (6, 6)}, {(8, 2), (6, 2)}),
        ("timesformer_b_8", {(5, 5), (3, 3)}, {(4, 2), (2, 1)}),
        ("motionformer_b_16", {(1, 9), (8, 4), (1, 5), (4, 2)}, {(4, 2), (2, 1)}),
    ],
)
def test_shapes_are_the_models_own(preset, attentions, merges):
    model = create_model(preset, num_classes=5, reduction=Reduction(r=2), **SIZES)
    parts = parts_of(model)
    over_frames = {"attention over frames"} if preset == "timesformer_b_8" else set()
    assert {part.what for part in parts} == {"attention", "matching", "merging"} | over_frames
    assert {part.shape[:2] for part in parts if part.what == "attention"} <= attentions
    assert {part.shape[:2] for part in parts if part.what == "merging"} == merges
    assert {part.shape[-2:] for part in parts if part.what == "attention"} == {(2, 8)}


def test_variants_get_the_same_choice_and_say_the_same(tmp_path, monkeypatch, capsys, tiny_model, tiny_params, videos):
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path))
    monkeypatch.setattr(auto, "ROUNDS", 1)
    variants = [Variant("a", tiny_model(mode="none"), tiny_params), Variant("b", tiny_model(r=8), tiny_params)]
    assert with_fastest_backends(variants) == variants, "a CPU has nothing to measure"
    chosen = with_fastest_backends(variants, platform="gpu")
    assert "\nauto: attention of 33 x 33 x 2 x 8: " in f"\n{capsys.readouterr().err}"
    models = [one.model for one in chosen]
    assert isinstance(models[0].attention, Measured)
    assert [(one.attention, one.matching, one.merging) for one in models[1:]] == [
        (models[0].attention, models[0].matching, models[0].merging)
    ]
    assert [shape for shape, _ in models[0].attention.at] == [(33, 33, 2, 8), (25, 25, 2, 8)]
    assert models[0].compute.chosen["attention"] == models[0].attention.at[0][1]
    assert len(models[0].compute.measured) == 2 + 2 + 2
    video = jnp.asarray(videos(4, 4)[0].frames[:, 0], jnp.float32) / 255
    ours, theirs = (jax.jit(one[1].model.apply)({"params": tiny_params}, video) for one in (chosen, variants))
    for head, logits in theirs.items():
        np.testing.assert_allclose(ours[head], logits, atol=1e-5)


def test_what_is_asked_for_decides(tmp_path, monkeypatch, tiny_model, tiny_params):
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path))
    asked = {"attention": "xla", "matching": "chunked", "merging": "sorted"}
    variants = [Variant("a", tiny_model(r=8).clone(**asked), tiny_params)]
    assert with_fastest_backends(variants, platform="gpu") == variants
    assert not list(tmp_path.iterdir())
