"""The PyTorch reference's recorded models of all four kinds, and how to compare with them."""

import dataclasses
import functools
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict
from tiny_models import GOLDEN, PRESET_OF

from jax_vtm.checkpoints import from_torch_state_dict
from jax_vtm.merging import Reduction, metric_from_keys
from jax_vtm.models import create_model

MANIFEST = json.loads((GOLDEN / "torch" / "manifest.json").read_text())["models"]
LOGITS = {"rtol": 0, "atol": 1e-5}
BLOCKS = {"rtol": 0, "atol": 2e-5}


def _quick_options() -> dict:
    """Compiler options for programs that run once: compiling them well takes ten times longer than running them badly.

    Nothing where this version of XLA does not know them.
    """
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


QUICK = _quick_options()


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One recorded model.

    Attributes:
        kind: Its name in the manifest.
        block_tokens: From what our block returns to the recorded order of tokens.
        groups: From tokens [B, N, ...] in our order to the groups [G, P, ...] in which the reference merges them.
        outside: Class tokens that take no part in merging.
        logits: Name of the recorded logits.
    """

    kind: str
    block_tokens: Callable = lambda outputs: outputs[0]
    groups: Callable = lambda x: x
    outside: int = 0
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
            PRESET_OF[self.kind],
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
            heads = ("head.", "classifier.")
            found = {name: a for name, a in found.items() if not name.removeprefix("model.").startswith(heads)}
            found |= {name.removeprefix("param_ek/"): a for name, a in self.arrays.items() if "param_ek/" in name}
        return found

    @functools.cached_property
    def variables(self) -> dict:
        return from_torch_state_dict(self.state_dict(), self.model())

    def run(self, reduction: Reduction | None = None, variables: dict | None = None, **fields):
        """Returns ((logits, trace), captured outputs of blocks and attention)."""
        model = self.model(reduction, **{"attention": "xla", **fields})

        @functools.partial(jax.jit, compiler_options=QUICK)
        def forward(variables, video):
            return model.apply(variables, video, trace=True, capture_intermediates=is_captured)

        found, captured = forward(variables or self.variables, self.video)
        captured = captured["intermediates"]
        return found, captured.get("Transformer", captured)

    def check_base(self) -> None:
        """The model without reduction."""
        (logits, trace), captured = self.run()
        self._check_logits(logits, "base")
        assert trace.tokens_per_layer[1:] == tuple(self.manifest["base"]["token_counts"])
        for layer in range(4):
            self._check_block(captured, "base", layer)

    def check_case(self, name: str, **fields) -> None:
        """Logits, token counts, sizes, membership, and where recorded the blocks, the metric and the indices.

        Any fields of the model may be others.
        """
        if name.startswith("fixedtraj_"):
            self._check_projected_values(name, **fields)
            return
        case, arrays = self.cases[name], self.arrays
        reduction = reduction_of(case)
        variables = dict(self.variables)
        if case["n_rand_draws"]:
            assert reduction.is_random
            draws = {
                f"encoderblock_{layer}": {"TokenReduction_0": {"scores": arrays[f"{name}/rand{layer}"]}}
                for layer in range(case["n_rand_draws"])
            }
            variables["scores"] = {"Transformer": draws} if self.kind == "vivit" else draws
        (logits, trace), captured = self.run(reduction, variables, **fields)
        self._check_logits(logits, name)

        model, counts = self.model(reduction), case["token_counts"]
        assert model.tokens_per_layer[1:] == tuple(counts)
        if case["duplicate"] is not None:
            # The reference counts a repeated layer once per repetition; so does the model, but not the trace.
            layer, times = case["duplicate"]["layer_to_duplicate"], case["duplicate"]["quantity"]
            counts = counts[:layer] + counts[layer + times - 1 :]
        assert trace.tokens_per_layer == (model.tokens_per_layer[0], *counts)

        first = self.outside
        np.testing.assert_array_equal(trace.sizes[:, :first], 1)
        np.testing.assert_array_equal(trace.membership[:, :first], 0)
        sizes = self.groups(np.asarray(trace.sizes[:, first:]))
        np.testing.assert_array_equal(sizes, arrays[f"{name}/size"][..., 0])
        membership = self.group_membership(trace.membership, sizes.shape[1])
        found = membership[:, None] == np.arange(sizes.shape[1])[:, None]
        np.testing.assert_array_equal(found, arrays[f"{name}/source"])

        expected = None
        for layer in range(4):
            if f"{name}/block{layer}" in arrays:
                self._check_block(captured, name, layer)
                self._check_metric(captured, name, layer, reduction)
                expected = follow_indices(arrays, name, layer, expected)
                if reduction.mode != "hybrid":  # there, a replaced token's membership also depends on the scores
                    state = trace.layers[layer]
                    kept = (state.size.shape[1] - first) * len(arrays["video"]) // len(sizes)
                    np.testing.assert_array_equal(self.group_membership(state.membership, kept), expected)

    def _check_projected_values(self, name: str, **fields) -> None:
        """Motionformer as the paper writes it, of which only probabilities are recorded."""
        case = self.cases[name]
        (logits, trace), _ = self.run(reduction_of(case), project_values=True, **fields)
        np.testing.assert_allclose(jax.nn.softmax(logits), self.arrays[f"{name}/logits"], **LOGITS)
        assert trace.tokens_per_layer[1:] == tuple(case["token_counts"])

    def check_two_heads(self, prefix: str) -> None:
        """Verb and noun, without reduction and with."""
        verbs, nouns = self.manifest["ek"]["num_classes"]
        heads = {"verb": verbs, "noun": nouns}
        merge = self.cases[self.manifest["ek"]["merge_case_same_as"]]
        reduction = None if prefix == "ek_base" else reduction_of(merge)
        variables = from_torch_state_dict(self.state_dict(two_heads=True), self.model(num_classes=heads))
        (logits, _), _ = self.run(reduction, variables, num_classes=heads)
        assert sorted(logits) == ["noun", "verb"]
        for head, found in logits.items():
            found = jax.nn.softmax(found) if self.logits == "raw_logits" else found
            np.testing.assert_allclose(found, self.arrays[f"{prefix}/{head}"], **LOGITS)

    def check_gradients(self, name: str) -> None:
        """The loss, the norm of every parameter's gradient, and some gradients in full."""
        arrays, order = self.arrays, self.manifest["grad"]["param_order"]
        model = self.model(reduction_of(self.cases[name]), attention="xla")

        @functools.partial(jax.jit, compiler_options=QUICK)
        @jax.value_and_grad
        def loss_of(params):
            labels = jnp.asarray(arrays["grad/labels"])
            logits = model.apply({"params": params}, jnp.asarray(self.video))
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

    def _check_logits(self, logits, name: str) -> None:
        np.testing.assert_allclose(logits, self.arrays[f"{name}/{self.logits}"], **LOGITS)
        if self.logits == "raw_logits":  # then what the reference returns, and calls logits, are probabilities
            np.testing.assert_allclose(jax.nn.softmax(logits), self.arrays[f"{name}/logits"], **LOGITS)

    def _check_block(self, captured, name: str, layer: int) -> None:
        outputs = captured[f"encoderblock_{layer}"]["__call__"][0]
        np.testing.assert_allclose(self.block_tokens(outputs), self.arrays[f"{name}/block{layer}"], **BLOCKS)

    def _check_metric(self, captured, name: str, layer: int, reduction: Reduction) -> None:
        attention = "MultiHeadDotProductAttention_0" if self.kind == "vivit" else "attention"
        _, keys = captured[f"encoderblock_{layer}"][attention]["__call__"][0]
        recorded = self.arrays[f"{name}/metric{layer}"]
        keys = keys if len(keys) == len(recorded) else self.groups(keys)
        np.testing.assert_allclose(metric_from_keys(keys, reduction.head_aggregation), recorded, **BLOCKS)

    def group_membership(self, membership, num_kept: int) -> np.ndarray:
        """A clip's membership [B, 1 + N] as that of the groups by themselves [G, P], numbered within each."""
        first = self.outside
        membership = np.asarray(membership)[:, first:]
        num_groups = self.groups(membership).shape[0] // membership.shape[0]
        # Position in its group, and group, of every final token of the clip.
        place = self.groups(np.arange(num_groups * num_kept)[None])
        where = np.zeros((num_groups * num_kept, 2), int)
        for group, tokens in enumerate(place):
            where[tokens] = np.stack([np.full(num_kept, group), np.arange(num_kept)], axis=1)
        grouped = self.groups(membership)
        group, rank = np.moveaxis(where[np.maximum(grouped - first, 0)], -1, 0)
        own = np.arange(len(grouped))[:, None] % num_groups
        assert ((group == own) | (grouped < 0)).all(), "a token ended in another group"
        return np.where(grouped < 0, -1, rank)


def follow_indices(arrays: dict, name: str, layer: int, earlier: np.ndarray | None) -> np.ndarray:
    """Membership after one more layer, from the recorded indices; they count in even or in odd positions."""
    what = {key: arrays.get(f"{name}/{key}{layer}") for key in ("unm_idx", "und_idx", "src_idx", "dst_idx")}
    kept = what["und_idx"] if what["unm_idx"] is None else what["unm_idx"]
    groups, num_tokens = len(kept), arrays[f"{name}/metric{layer}"].shape[1]
    step = np.full((groups, num_tokens), -1)
    step[:, 1::2] = kept.shape[1] + np.arange(num_tokens // 2)
    np.put_along_axis(step, 2 * kept, np.arange(kept.shape[1])[None], axis=1)
    if what["dst_idx"] is not None:
        np.put_along_axis(step, 2 * what["src_idx"], kept.shape[1] + what["dst_idx"], axis=1)
    if earlier is None:
        return step
    return np.where(earlier < 0, -1, np.take_along_axis(step, np.maximum(earlier, 0), axis=1))


def is_captured(module, method: str) -> bool:
    return method == "__call__" and (module.name or "").startswith(("encoderblock_", "attention", "MultiHead"))


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


def time_innermost(outputs):
    """The reference's TimeSformer keeps (place, time), we keep (time, place)."""
    cls, patches, _ = outputs
    patches = np.asarray(patches).swapaxes(1, 2)
    return np.concatenate([cls, patches.reshape(patches.shape[0], -1, patches.shape[-1])], axis=1)


FRAMES = 4
RECORDED = {
    "vivit": Recorded("vivit"),
    "timesformer": Recorded(
        "timesformer",
        block_tokens=time_innermost,
        groups=lambda x: x.reshape(x.shape[0] * FRAMES, -1, *x.shape[2:]),
        outside=1,
    ),
    # Token i is in group i modulo the frames. The reference's evaluation returns probabilities; the logits before are
    # recorded too.
    "motionformer": Recorded(
        "motionformer",
        groups=lambda x: np.reshape(
            x.reshape(x.shape[0], -1, FRAMES, *x.shape[2:]).swapaxes(1, 2), (x.shape[0] * FRAMES, -1, *x.shape[2:])
        ),
        outside=1,
        logits="raw_logits",
    ),
    "videomae": Recorded("videomae"),
}
