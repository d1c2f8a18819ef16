"""The PyTorch reference's recorded TimeSformer, Motionformer and VideoMAE, and how to compare with them."""

import dataclasses
import functools
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict
from recorded_models import GOLDEN

from jax_vtm.checkpoints import from_torch_state_dict
from jax_vtm.merging import Reduction, bipartite_soft_matching, cosine_scores, metric_from_keys, source_matrix
from jax_vtm.models import create_model

MANIFEST = json.loads((GOLDEN / "torch" / "manifest.json").read_text())["models"]
LOGITS = {"rtol": 0, "atol": 1e-5}
BLOCKS = {"rtol": 0, "atol": 2e-5}


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One recorded model.

    Attributes:
        kind: Its name in the manifest.
        preset: Ours.
        block_tokens: From what our block returns to the recorded order of tokens.
        groups: From patches [B, N, ...] in our order to the groups [G, P, ...] in which the reference merges them.
        logits: Name of the recorded logits.
    """

    kind: str
    preset: str
    block_tokens: Callable
    groups: Callable
    logits: str = "logits"

    @property
    def manifest(self) -> dict:
        return MANIFEST[self.kind]

    @property
    def cases(self) -> dict[str, dict]:
        return {case["id"]: case for case in self.manifest["cases"]}

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / "torch" / f"model_{self.kind}.npz") as file:
            return dict(file)

    @property
    def video(self) -> np.ndarray:
        """The clips as [B, T, H, W, 3]."""
        return self.arrays["video"].transpose(0, 2, 3, 4, 1)

    def model(self, reduction: Reduction | None = None, num_classes=10, **fields):
        """The recorded architecture."""
        size = self.manifest["config"]
        return create_model(
            self.preset,
            reduction=reduction,
            num_classes=num_classes,
            image_size=size["image"],
            num_frames=size["frames"],
            patch_size=(size["tubelet"], size["patch"], size["patch"]),
            hidden_size=size["dim"],
            num_heads=size["heads"],
            num_layers=size["depth"],
            mlp_dim=size["dim"] * size["mlp_ratio"],
            **fields,
        )

    def state_dict(self, two_heads: bool = False) -> dict[str, np.ndarray]:
        """The recorded parameters under the source's names."""
        found = {name.removeprefix("param/"): a for name, a in self.arrays.items() if name.startswith("param/")}
        if two_heads:
            found = {name: a for name, a in found.items() if not name.removeprefix("model.").startswith("head.")}
            extra = {name.removeprefix("param_ek/"): a for name, a in self.arrays.items() if "param_ek/" in name}
            found |= extra
        return found

    @functools.cached_property
    def variables(self) -> dict:
        return from_torch_state_dict(self.state_dict(), self.model())

    def run(self, reduction: Reduction | None = None, variables: dict | None = None, **fields):
        """Returns ((logits, trace), captured intermediates)."""
        model = self.model(reduction, **fields)

        @jax.jit
        def forward(variables, video):
            return model.apply(variables, video, trace=True, capture_intermediates=True)

        return forward(variables or self.variables, self.video)

    def check_base(self) -> None:
        """The model without reduction."""
        (logits, trace), captured = self.run()
        np.testing.assert_allclose(logits, self.arrays[f"base/{self.logits}"], **LOGITS)
        assert trace.tokens_per_layer[1:] == tuple(self.manifest["base"]["token_counts"])
        for layer in range(4):
            self._check_block(captured, "base", layer)

    def check_case(self, name: str) -> None:
        """Logits, token counts, sizes, membership, and where recorded the blocks, the metric and the indices."""
        case, arrays = self.cases[name], self.arrays
        reduction = reduction_of(case)
        variables = dict(self.variables)
        if case["n_rand_draws"]:
            assert reduction.is_random
            variables["scores"] = {
                f"encoderblock_{layer}": {"TokenReduction_0": {"scores": arrays[f"{name}/rand{layer}"]}}
                for layer in range(case["n_rand_draws"])
            }
        (logits, trace), captured = self.run(reduction, variables)
        np.testing.assert_allclose(logits, arrays[f"{name}/{self.logits}"], **LOGITS)

        model, counts = self.model(reduction), case["token_counts"]
        assert model.tokens_per_layer[1:] == tuple(counts)
        if case["duplicate"] is not None:
            # The reference counts a repeated layer once per repetition; so does the model, but not the trace.
            layer, times = case["duplicate"]["layer_to_duplicate"], case["duplicate"]["quantity"]
            counts = counts[:layer] + counts[layer + times - 1 :]
        assert trace.tokens_per_layer == (model.tokens_per_layer[0], *counts)

        first = int(model.has_class_token)
        np.testing.assert_array_equal(trace.sizes[:, :first], 1)
        np.testing.assert_array_equal(trace.membership[:, :first], 0)
        sizes = self.groups(np.asarray(trace.sizes[:, first:]))
        np.testing.assert_array_equal(sizes, arrays[f"{name}/size"][..., 0])
        # One 0/1 matrix of the clip, cut into the groups along both of its axes.
        num_kept = trace.sizes.shape[1]
        source = np.asarray(source_matrix(trace.membership, num_kept))[:, first:, first:]
        source = self.groups(source.transpose(0, 2, 1)).transpose(0, 2, 1)
        num_groups = source.shape[0] // source_batch(arrays)
        within = [self.groups(rows)[index % num_groups] for index, rows in enumerate(each(source))]
        np.testing.assert_array_equal(within, arrays[f"{name}/source"])
        assert np.sum(within) == np.sum(source), "a token in a group of another frame"

        for layer in range(4):
            if f"{name}/block{layer}" in arrays:
                self._check_block(captured, name, layer)
                self._check_matching(captured, reduction, name, layer)

    def check_two_heads(self, prefix: str, probabilities: bool = False) -> None:
        """Verb and noun, without reduction and with."""
        verbs, nouns = self.manifest["ek"]["num_classes"]
        heads = {"verb": verbs, "noun": nouns}
        merge = self.cases[self.manifest["ek"]["merge_case_same_as"]]
        reduction = None if prefix == "ek_base" else reduction_of(merge)
        variables = from_torch_state_dict(self.state_dict(two_heads=True), self.model(num_classes=heads))
        (logits, _), _ = self.run(reduction, variables, num_classes=heads)
        assert sorted(logits) == ["noun", "verb"]
        for head, found in logits.items():
            found = jax.nn.softmax(found) if probabilities else found
            np.testing.assert_allclose(found, self.arrays[f"{prefix}/{head}"], **LOGITS)

    def check_gradients(self, name: str) -> None:
        """The loss, the norm of every parameter's gradient, and some gradients in full."""
        arrays, order = self.arrays, self.manifest["grad"]["param_order"]
        model = self.model(reduction_of(self.cases[name]))

        @jax.jit
        @jax.value_and_grad
        def loss_of(params):
            labels = jnp.asarray(arrays["grad/labels"])
            logits = model.apply({"params": params}, self.video)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, gradients = loss_of(self.variables["params"])
        np.testing.assert_allclose(loss, arrays[f"grad/{name}/loss"], rtol=1e-5)
        gradients = {path: np.asarray(leaf) for path, leaf in flatten_dict(gradients, sep="/").items()}
        squares = dict.fromkeys(order, 0.0)
        for path, parameter in self.parameter_names.items():
            squares[parameter] += np.sum(gradients[path] ** 2)
        norms = np.sqrt(list(squares.values()))
        # A bias that shifts all scores of a query alike has rounding noise for a gradient.
        np.testing.assert_allclose(norms, arrays[f"grad/{name}/norms"], rtol=1e-4, atol=1e-7)
        full = self.manifest["grad"]["full_grads"]
        tensors = {**self.state_dict(), **{parameter: arrays[f"grad/{name}/{parameter}"] for parameter in full}}
        expected = flatten_dict(from_torch_state_dict(tensors, model)["params"], sep="/")
        for path, parameter in self.parameter_names.items():
            if parameter in full:
                scale = np.abs(expected[path]).max()
                np.testing.assert_allclose(gradients[path], expected[path], rtol=1e-4, atol=1e-4 * scale, err_msg=path)

    @functools.cached_property
    def parameter_names(self) -> dict[str, str]:
        """The PyTorch parameter that each of ours comes from: every tensor is filled with its number and followed."""
        names = self.manifest["grad"]["param_order"]
        tensors = self.state_dict()
        numbered = {name: np.full_like(tensors[name], names.index(name) if name in names else -1) for name in tensors}
        leaves = flatten_dict(from_torch_state_dict(numbered, self.model())["params"], sep="/")
        found = {path: names[int(leaf.flat[0])] for path, leaf in leaves.items()}
        assert set(found.values()) == set(names)
        return found

    def _check_block(self, captured, name: str, layer: int) -> None:
        outputs = captured["intermediates"][f"encoderblock_{layer}"]["__call__"][0]
        np.testing.assert_allclose(self.block_tokens(outputs), self.arrays[f"{name}/block{layer}"], **BLOCKS)

    def _check_matching(self, captured, reduction: Reduction, name: str, layer: int) -> None:
        recorded = {
            what: self.arrays.get(f"{name}/{what}{layer}")
            for what in ("metric", "unm_idx", "und_idx", "src_idx", "dst_idx")
        }
        _, keys = captured["intermediates"][f"encoderblock_{layer}"]["attention"]["__call__"][0]
        keys = keys if keys.shape[0] == len(recorded["metric"]) else self.groups(keys)
        metric = metric_from_keys(keys, reduction.head_aggregation)
        np.testing.assert_allclose(metric, recorded["metric"], **BLOCKS)
        matching = bipartite_soft_matching(cosine_scores(metric), recorded["src_idx"].shape[1])
        np.testing.assert_array_equal(matching.removed, 2 * recorded["src_idx"])
        survivors = np.asarray(matching.survivors)
        kept = recorded["und_idx"] if recorded["unm_idx"] is None else recorded["unm_idx"]
        np.testing.assert_array_equal(survivors[:, : kept.shape[1]], 2 * kept)
        if recorded["dst_idx"] is not None:
            joined = np.take_along_axis(survivors, np.asarray(matching.target), axis=1)
            np.testing.assert_array_equal(joined, 2 * recorded["dst_idx"] + 1)


def reduction_of(case: dict) -> Reduction:
    """The settings of one recorded case."""
    patch, r, inflection = case["patch"], case["r"], 0
    if case["r_form"].startswith("tuple"):
        r, inflection = r
    duplicate = case.get("duplicate")
    return Reduction(
        r=r,
        inflection=inflection,
        mode=patch["mode"],
        proportional_attention=patch["prop_attn"],
        head_aggregation=patch.get("head_aggregation", "mean"),
        threshold=patch.get("threshold", 0.0),
        repeat_layer=duplicate and (duplicate["layer_to_duplicate"], duplicate["quantity"]),
    )


def source_batch(arrays: dict[str, np.ndarray]) -> int:
    return arrays["video"].shape[0]


def each(source: np.ndarray) -> list[np.ndarray]:
    """[G, K, P] as one [1, K, P] after the other."""
    return list(source[:, None])


def frame_groups(frames: int) -> Callable:
    """Groups that follow each other."""
    return lambda x: x.reshape(x.shape[0] * frames, -1, *x.shape[2:])


def interleaved_groups(frames: int) -> Callable:
    """Token i is in group i mod F."""
    return lambda x: (
        x.reshape(x.shape[0], -1, frames, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape[0] * frames, -1, *x.shape[2:])
    )
