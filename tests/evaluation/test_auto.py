"""What "auto" takes where it measures, with backends registered for it; here, a CPU is taken for another device."""

import dataclasses
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
    assert kept["versions"].keys() == {"jax", "jaxlib", "jax_vtm"}


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


def test_where_none_agrees_auto_stays(tmp_path):
    part = dataclasses.replace(registered(19), backends={"broken": failing})
    assert fastest([part], tmp_path) == {}


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
        ("timesformer_b_8", {(4, 4), (1, 5), (5, 5), (4, 5), (3, 3), (1, 3), (2, 3)}, {(4, 2), (2, 1)}),
        ("motionformer_b_16", {(1, 9), (8, 4), (1, 5), (4, 2)}, {(4, 2), (2, 1)}),
    ],
)
def test_shapes_are_the_models_own(preset, attentions, merges):
    model = create_model(preset, num_classes=5, reduction=Reduction(r=2), **SIZES)
    parts = parts_of(model)
    assert {part.what for part in parts} == {"attention", "matching", "merging"}
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


def test_all_processes_take_the_choice_of_process_0(tmp_path, monkeypatch, tiny_model, tiny_params):
    sent = []

    def broadcast(values):
        sent.append(np.array(values))
        # Those of process 0, whatever another one gives.
        return sent[0]

    found = {"attention": Measured((((33, 33, 2, 8), "chunked"),), ("attention: chunked",))}
    variants = [Variant("a", tiny_model(r=8), tiny_params)]
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(auto.multihost_utils, "broadcast_one_to_all", broadcast)
    monkeypatch.setattr(auto, "fastest", lambda parts, folder: found)
    (first,) = with_fastest_backends(variants, platform="tpu")
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(auto, "fastest", lambda parts, folder: pytest.fail("process 1 measures"))
    (second,) = with_fastest_backends(variants, platform="tpu")
    assert first.model.attention == second.model.attention == found["attention"]
    assert [values.nbytes for values in sent] == [auto.MOST_BYTES] * 2


def test_what_is_asked_for_decides(tmp_path, monkeypatch, tiny_model, tiny_params):
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path))
    asked = {"attention": "xla", "matching": "chunked", "merging": "segment"}
    variants = [Variant("a", tiny_model(r=8).clone(**asked), tiny_params)]
    assert with_fastest_backends(variants, platform="gpu") == variants
    assert not list(tmp_path.iterdir())
