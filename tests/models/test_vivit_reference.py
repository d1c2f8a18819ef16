"""The PyTorch reference's recorded ViViT, case by case."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from recorded_models import (
    VIVIT,
    reduction_of,
    torch_arrays,
    torch_model,
    torch_state_dict,
    torch_variables,
    torch_video,
)

from jax_vtm.checkpoints import from_torch_state_dict
from jax_vtm.merging import bipartite_soft_matching, cosine_scores, metric_from_keys, source_matrix

CASES = {case["id"]: case for case in VIVIT["cases"]}
LOGITS = {"rtol": 0, "atol": 1e-5}
BLOCKS = {"rtol": 0, "atol": 2e-5}


def run(model, variables, trace=True):
    @jax.jit
    def forward(variables, video):
        return model.apply(variables, video, trace=trace, capture_intermediates=trace)

    return forward(variables, torch_video())


def captured_block(captured, layer):
    return captured["intermediates"]["Transformer"][f"encoderblock_{layer}"]


def test_without_reduction():
    arrays = torch_arrays()
    (logits, trace), captured = run(torch_model(), torch_variables())
    np.testing.assert_allclose(logits, arrays["base/logits"], **LOGITS)
    assert trace.tokens_per_layer == (65, *VIVIT["base"]["token_counts"])
    for layer in range(4):
        block, _ = captured_block(captured, layer)["__call__"][0]
        np.testing.assert_allclose(block, arrays[f"base/block{layer}"], **BLOCKS)


@pytest.mark.parametrize("name", CASES)
def test_recorded_case(name):
    check_case(name)


def check_case(name, **fields):
    """Logits, sizes, membership, token counts, blocks and decisions; any fields of the model may be others."""
    case, arrays = CASES[name], torch_arrays()
    reduction = reduction_of(case)
    variables = dict(torch_variables())
    if case["n_rand_draws"]:
        assert reduction.is_random
        draws = {
            f"encoderblock_{layer}": {"TokenReduction_0": {"scores": arrays[f"{name}/rand{layer}"]}}
            for layer in range(case["n_rand_draws"])
        }
        variables["scores"] = {"Transformer": draws}
    (logits, trace), captured = run(torch_model(reduction, **fields), variables)
    np.testing.assert_allclose(logits, arrays[f"{name}/logits"], **LOGITS)
    np.testing.assert_array_equal(trace.sizes, arrays[f"{name}/size"][..., 0])
    np.testing.assert_array_equal(source_matrix(trace.membership, trace.sizes.shape[-1]), arrays[f"{name}/source"])
    counts = case["token_counts"]
    if case["duplicate"] is not None:
        # The reference counts a repeated layer once per repetition.
        layer, times = case["duplicate"]["layer_to_duplicate"], case["duplicate"]["quantity"]
        counts = counts[:layer] + counts[layer + times - 1 :]
    assert trace.tokens_per_layer == (65, *counts)
    for layer in range(4):
        if f"{name}/block{layer}" in arrays:
            check_layer(captured_block(captured, layer), reduction, name, layer)


def check_layer(captured, reduction, name, layer):
    """Block output, the feature that is compared, and the indices chosen by it."""
    recorded = {
        what: torch_arrays().get(f"{name}/{what}{layer}")
        for what in ("block", "metric", "unm_idx", "und_idx", "src_idx", "dst_idx")
    }
    block, _ = captured["__call__"][0]
    np.testing.assert_allclose(block, recorded["block"], **BLOCKS)
    keys = captured["MultiHeadDotProductAttention_0"]["key"]["__call__"][0]

    @jax.jit
    def decide(keys):
        metric = metric_from_keys(keys, reduction.head_aggregation)
        return metric, bipartite_soft_matching(cosine_scores(metric), recorded["src_idx"].shape[1], class_token=True)

    metric, matching = decide(keys)
    np.testing.assert_allclose(metric, recorded["metric"], **BLOCKS)
    np.testing.assert_array_equal(matching.src, 2 * recorded["src_idx"])
    tokens = np.asarray(matching.kept)
    kept = recorded["und_idx"] if recorded["unm_idx"] is None else recorded["unm_idx"]
    np.testing.assert_array_equal(tokens[:, : kept.shape[1]], 2 * kept)
    if recorded["dst_idx"] is not None:
        joined = np.take_along_axis(tokens, np.asarray(matching.dst), axis=1)
        np.testing.assert_array_equal(joined, 2 * recorded["dst_idx"] + 1)


@pytest.mark.parametrize(("prefix", "case"), [("ek_base", None), ("ek_merge", VIVIT["ek"]["merge_case_same_as"])])
def test_two_heads(prefix, case):
    verbs, nouns = VIVIT["ek"]["num_classes"]
    model = torch_model(case and reduction_of(CASES[case]), num_classes={"verb": verbs, "noun": nouns})
    logits = run(model, from_torch_state_dict(torch_state_dict(two_heads=True), model), trace=False)
    assert sorted(logits) == ["noun", "verb"]
    for head, found in logits.items():
        np.testing.assert_allclose(found, torch_arrays()[f"{prefix}/{head}"], **LOGITS)


@functools.cache
def parameter_paths():
    """Our path of every PyTorch parameter: each tensor is filled with its own number and followed."""
    names = VIVIT["grad"]["param_order"]
    tensors = torch_state_dict()
    numbered = {name: np.full_like(tensors[name], number) for number, name in enumerate(names)}
    leaves = flatten_dict(from_torch_state_dict(numbered, torch_model())["params"], sep="/")
    paths = {names[int(leaf.flat[0])]: path for path, leaf in leaves.items()}
    assert sorted(paths) == sorted(names)
    return paths


@pytest.mark.parametrize("name", VIVIT["grad"]["cases"])
def test_recorded_gradients(name):
    arrays = torch_arrays()
    model = torch_model(reduction_of(CASES[name]), attention="xla")

    @jax.jit
    @jax.value_and_grad
    def loss_of(params):
        logits = model.apply({"params": params}, torch_video())
        labels = jnp.asarray(arrays["grad/labels"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradients = loss_of(torch_variables()["params"])
    np.testing.assert_allclose(loss, arrays[f"grad/{name}/loss"], rtol=1e-5)
    gradients = {path: np.asarray(leaf) for path, leaf in flatten_dict(gradients, sep="/").items()}
    paths = parameter_paths()
    norms = [np.linalg.norm(gradients[paths[name]]) for name in VIVIT["grad"]["param_order"]]
    # A key's bias shifts all scores of a query alike: its gradient is rounding noise.
    np.testing.assert_allclose(norms, arrays[f"grad/{name}/norms"], rtol=1e-4, atol=1e-7)
    full = VIVIT["grad"]["full_grads"]
    tensors = {**torch_state_dict(), **{parameter: arrays[f"grad/{name}/{parameter}"] for parameter in full}}
    expected = flatten_dict(from_torch_state_dict(tensors, model)["params"], sep="/")
    for parameter in full:
        path = paths[parameter]
        scale = np.abs(expected[path]).max()
        np.testing.assert_allclose(gradients[path], expected[path], rtol=1e-4, atol=1e-4 * scale, err_msg=parameter)
