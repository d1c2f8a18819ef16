"""What a reduction does, and how many tokens each layer keeps: plain Python, known before anything is traced.

Source: the schedules of "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025), which follow ToMe (Bolya et al.,
2023).
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_vtm.errors import UserError

MODES = ("none", "merge", "random_merge", "drop", "random_drop", "hybrid")
HEAD_AGGREGATIONS = ("mean", "concat")
LAYOUTS = ("reference", "fixed")
MEANS = ("weighted", "norm_preserving")
IMPORTANCES = ("similarity", "shift")
CHOOSES_BY_SHIFT = ("drop", "hybrid")
INPUT_CHOICES = ("run_length", "random", "uniform")


@dataclasses.dataclass(frozen=True)
class InputReduction:
    """Token reduction before the first layer (`input_reduction.keep_patches`).

    Attributes:
        keep: Patches that stay, K; the first time step's always do, so at least that many.
        by: Which others stay: "run_length", those that differ most from the patch before them in time; "random" ones,
            drawn per clip from the Flax RNG stream "reduction"; or "uniform", evenly spaced ones.
    """

    keep: int
    by: str = "run_length"

    def __post_init__(self):
        if not isinstance(self.keep, int) or self.keep < 1:
            raise UserError(f"reduction.input.keep is {self.keep!r}; expected a whole number of patches.")
        if self.by not in INPUT_CHOICES:
            raise UserError(f"reduction.input.by is {self.by!r}; known are {', '.join(INPUT_CHOICES)}.")

    def check(self, grid: tuple[int, int, int]) -> None:
        """Raises a UserError unless so many patches can stay of a grid (time, height, width)."""
        places, patches = math.prod(grid[1:]), math.prod(grid)
        if not places <= self.keep <= patches:
            raise UserError(
                f"reduction.input.keep is {self.keep}; expected {places}, the patches of one time step, which always "
                f"stay, to {patches}, those of a clip."
            )


@dataclasses.dataclass(frozen=True)
class Reduction:
    """Training-free token reduction between attention and MLP of every layer. Hashable, so it can be a module's field.

    Attributes:
        r: Tokens to remove per layer, or one entry per layer (a shorter list: no reduction in the remaining layers).
            More than a layer can remove is clamped; `tokens_per_layer` in every result says what was done.
        inflection: Slope of the schedule in [-1, 1]: -1 decreasing from 2r to 0, 0 constant, 1 increasing.
        mode: "none", "merge" (size-weighted mean), "drop" (removed tokens vanish), "hybrid" (merge, but a token that
            receives an edge below `threshold` is replaced instead of averaged), and "random_merge" and "random_drop",
            whose scores are uniform numbers from the Flax RNG stream "reduction". Or one entry per layer, also as text
            such as "drop,merge": the last one holds for the remaining layers.
        proportional_attention: Adds log(size) to the attention scores of each key. None takes the model's own
            default: True, for VideoMAE False. Without effect in the drop modes, where all sizes are one unless `input`
            or merging in a layer before gave them others.
        head_aggregation: What is compared: "mean" of the keys over heads, or "concat". Every model honours both; the
            PyTorch reference takes the mean for TimeSformer and Motionformer whatever is asked for.
        threshold: Cosine similarity below which the hybrid mode replaces.
        layout: "reference" reproduces the PyTorch reference's token grouping; "fixed" corrects its faults. The two
            are the same thing for ViViT with a class token.
        repeat_layer: (layer, times): in ViViT and VideoMAE, that layer's matching and merging is done `times` times
            before its MLP; TimeSformer and Motionformer run the whole layer `times` times, with the same weights. As in
            the reference, for the paper's study of layers. `r` then has one entry per repetition.
        input: Reduction before the first layer, as an `InputReduction` or a dictionary of its fields; None, or one that
            keeps 0, for none. In ViViT's space-time model and VideoMAE.
        mean: What a merged token is: "weighted", the mean; or "norm_preserving", the mean with the largest norm of what
            is merged (MLERP of "Token Fusion: Bridging the Gap between Token Pruning and Token Merging", Kim et al.,
            2024; here the mean is weighted by size).
        importance: Which sources go in the modes "drop" and "hybrid": by "similarity", those that resemble a
            destination most; or by "shift", those that attention moved least, by the norm of what it added to them
            ("Representation Shift: Unifying Token Compression with FlashAttention", Choi et al., 2025, which ranks all
            tokens). Dropping by shift compares no keys. Layers of another mode go by similarity.
    """

    r: int | Sequence[int] = 0
    inflection: float = 0.0
    mode: str | Sequence[str] = "merge"
    proportional_attention: bool | None = None
    head_aggregation: str = "mean"
    threshold: float = 0.0
    layout: str = "reference"
    repeat_layer: tuple[int, int] | None = None
    input: InputReduction | None = None
    mean: str = "weighted"
    importance: str = "similarity"

    def __post_init__(self):
        object.__setattr__(self, "input", _input_reduction(self.input))
        if self.mode == "none" and self.input is not None:
            raise UserError(
                f"reduction.mode is 'none', which reduces nothing, but reduction.input keeps {self.input.keep} "
                "patches; for nothing but that give mode='merge' with r=0."
            )
        for field in ("r", "repeat_layer"):
            if isinstance(getattr(self, field), Sequence):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        object.__setattr__(self, "mode", _one_or_per_layer(self.mode))
        choices = {"head_aggregation": HEAD_AGGREGATIONS, "layout": LAYOUTS, "mean": MEANS, "importance": IMPORTANCES}
        chosen = [(field, getattr(self, field), known) for field, known in choices.items()]
        for field, value, known in [*(("mode", mode, MODES) for mode in self.modes or ("",)), *chosen]:
            if value not in known:
                raise UserError(f"reduction.{field} is {value!r}; known are {', '.join(known)}.")
        if not isinstance(self.mode, str):
            self._check_modes()
        if self.importance == "shift":
            self._check_shift()
        if math.isnan(self.threshold):
            raise UserError("reduction.threshold is NaN; expected a cosine similarity, usually from -1 to 1.")
        if self.repeat_layer is not None and not _is_repetition(self.repeat_layer):
            expected = "expected (layer, times) with layer >= 0 and times >= 1."
            raise UserError(f"reduction.repeat_layer is {self.repeat_layer}; {expected}")
        # Whatever else is wrong with r and inflection shows here, where the user can see it, and not inside a model.
        expand_r(self.r, len(self.r) if isinstance(self.r, tuple) else 1, self.inflection)

    def _check_modes(self) -> None:
        if "none" in self.modes:
            raise UserError(
                f"reduction.mode is {self.mode!r}, but 'none' is for all layers; a layer that removes nothing has an "
                "entry 0 in reduction.r."
            )
        if self.repeat_layer is not None:
            raise UserError(
                f"reduction.mode has an entry per layer, {self.mode!r}, and reduction.repeat_layer repeats one; give "
                "one of the two."
            )

    def _check_shift(self) -> None:
        if not {*self.modes} & {*CHOOSES_BY_SHIFT}:
            raise UserError(
                f"reduction.importance is 'shift', which chooses tokens in the modes {' and '.join(CHOOSES_BY_SHIFT)}, "
                f"but reduction.mode is {self.mode!r}."
            )
        if self.repeat_layer is not None:
            raise UserError(
                "reduction.importance is 'shift', but of the repetitions in reduction.repeat_layer only the last one "
                "attends; give one of the two."
            )

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes of the first layers; the last one is that of all others too."""
        return (self.mode,) if isinstance(self.mode, str) else tuple(self.mode)

    def with_modes(self, modes: Sequence[str]) -> "Reduction":
        """Returns the same with other modes; what none of them makes use of is left out."""
        importance = self.importance if {*modes} & {*CHOOSES_BY_SHIFT} else "similarity"
        return dataclasses.replace(self, mode=tuple(modes), importance=importance)

    def of_layer(self, layer: int) -> "Reduction":
        """Returns the reduction whose one mode is that of a layer."""
        if isinstance(self.mode, str):
            return self
        return self.with_modes([self.modes[min(layer, len(self.modes) - 1)]])

    @property
    def compares(self) -> bool:
        """Whether keys are compared, in any layer."""
        without = {"random_merge", "random_drop", *(["drop"] if self.importance == "shift" else [])}
        return not without.issuperset(self.modes)

    @property
    def is_random(self) -> bool:
        """Whether all scores are drawn from the RNG stream "reduction"."""
        return all(mode.startswith("random_") for mode in self.modes)

    @property
    def draws(self) -> bool:
        """Whether anything is drawn from that stream: scores, or the patches that stay before the first layer."""
        scores = any(mode.startswith("random_") for mode in self.modes)
        return scores or (self.input is not None and self.input.by == "random")

    @property
    def drops(self) -> bool:
        """Whether removed tokens vanish, in every layer."""
        return all(mode.endswith("drop") for mode in self.modes)

    @property
    def has_sizes(self) -> bool:
        """Whether a token can stand for more than itself."""
        return not self.drops or self.input is not None

    def adds_log_size(self, layer: int) -> bool:
        """Whether a layer's attention adds log(size) to the scores of each key; the reduction is a `resolved` one."""
        merges = any(not mode.endswith("drop") for mode in self.modes[: layer + 1])
        has_sizes = merges or self.input is not None
        return bool(self.proportional_attention) and self.mode != "none" and has_sizes

    def resolved(self, proportional_attention: bool) -> "Reduction":
        """Returns the same with a model's own `proportional_attention` where it was left to the model."""
        if self.mode == "none" or self.proportional_attention is not None:
            return self
        return dataclasses.replace(self, proportional_attention=proportional_attention)

    def per_layer(self, num_layers: int) -> tuple[tuple[int, ...], ...]:
        """Returns the tokens to remove in every step of every layer: one step each, unless a layer is repeated.

        Raises:
            UserError: A list longer than the number of steps, or a repeated layer that the model does not have.
        """
        if len(self.modes) > num_layers:
            raise UserError(
                f"reduction.mode lists {len(self.modes)} layers, but the model has {num_layers}; shorten the list."
            )
        repeated, times = self.repeat_layer or (0, 1)
        if repeated >= num_layers:
            last = num_layers - 1
            raise UserError(f"reduction.repeat_layer names layer {repeated}; the model has layers 0 to {last}.")
        steps = iter(expand_r(0 if self.mode == "none" else self.r, num_layers + times - 1, self.inflection))
        return tuple(tuple(itertools.islice(steps, times if i == repeated else 1)) for i in range(num_layers))

    def plan(self, num_tokens: int, num_layers: int, num_protected: int = 0) -> tuple[int, ...]:
        """Returns the token counts of a model: entering every step of every layer, and last, leaving the final one."""
        return plan(num_tokens, tuple(itertools.chain(*self.per_layer(num_layers))), num_protected)


def _input_reduction(given: Any) -> InputReduction | None:
    """Reads a dictionary; one that keeps 0 keeps all."""
    if not isinstance(given, Mapping):
        if given is None or isinstance(given, InputReduction):
            return given
        raise UserError(f'reduction.input is {given!r}; expected a dictionary such as {{"keep": 256}}, or None.')
    known = [field.name for field in dataclasses.fields(InputReduction)]
    for key in given:
        if key not in known:
            raise UserError(f"reduction.input has no key {key!r}; its keys are {', '.join(known)}.")
    if "keep" not in given:
        raise UserError(f"reduction.input is {dict(given)}, without 'keep', the number of patches that stay.")
    return InputReduction(**given) if given["keep"] != 0 else None


def _is_repetition(given: Sequence[int]) -> bool:
    return len(given) == 2 and all(isinstance(one, int) for one in given) and given[0] >= 0 and given[1] >= 1


def _one_or_per_layer(mode: str | Sequence[str]) -> str | tuple[str, ...]:
    """Reads a mode or a list of them; what only repeats the entry before, up to the end, is left out."""
    if isinstance(mode, str) and "," in mode:
        mode = [word.strip() for word in mode.strip("()[]").split(",") if word]
    if isinstance(mode, str) or not isinstance(mode, Sequence):
        return str(mode)
    entries = list(mode)
    while len(entries) > 1 and entries[-1] == entries[-2]:
        entries.pop()
    return entries[0] if len(entries) == 1 else tuple(entries)


def no_reduction() -> Reduction:
    """Returns the reduction that does nothing: the model as it was trained."""
    return Reduction(mode="none")


def expand_r(r: int | Sequence[int], num_layers: int, inflection: float = 0.0) -> tuple[int, ...]:
    """Returns how many tokens each layer is asked to remove.

    With an int, layer i of L is asked for `int(low + step * i)` tokens, where `low = int(r * (1 - inflection))` and
    `step = (2 * r - 2 * low) / (L - 1)`: the layers' mean is r up to the truncation of each entry.

    Args:
        r: Tokens to remove per layer; or one entry per layer, where a shorter list means no reduction in the rest.
        num_layers: Number of layers, L.
        inflection: In [-1, 1]: -1 falls from 2r to 0 over the layers, 0 is constant, 1 rises from 0 to 2r.

    Raises:
        UserError: Any of them is out of range, or a list longer than L or with an inflection.
    """
    if not -1 <= inflection <= 1:
        raise UserError(f"inflection is {inflection}; expected a number from -1 (decreasing) to 1 (increasing).")
    entries = tuple(r) if isinstance(r, Sequence) else (r,)
    if not all(isinstance(entry, int | np.integer) and entry >= 0 for entry in entries):
        raise UserError(f"r is {r!r}; expected 0 or more tokens to remove, as one whole number or one per layer.")
    if not isinstance(r, Sequence):
        low = int(r * (1 - inflection))
        step = (2 * r - 2 * low) / max(num_layers - 1, 1)
        return (int(r),) if num_layers == 1 else tuple(int(low + step * i) for i in range(num_layers))
    if inflection:
        raise UserError(f"r is a list, so its entries already say the schedule; inflection={inflection} must be 0.")
    if len(entries) > num_layers:
        raise UserError(f"r lists {len(entries)} layers, but the model reduces in {num_layers}; shorten the list.")
    return (*map(int, entries), *[0] * (num_layers - len(entries)))


def plan(num_tokens: int, per_layer: Sequence[int], num_protected: int = 0) -> tuple[int, ...]:
    """Returns the static token counts: entering each layer, and last, leaving the final one.

    Args:
        num_tokens: Tokens entering the first layer, protected ones (class, distillation) included.
        per_layer: Tokens each layer is asked to remove (see `expand_r`); more than possible is clamped.
        num_protected: Tokens that are never removed.

    Returns:
        `len(per_layer) + 1` ints, for example `plan(3137, (300,) * 12, 1)` = (3137, 2837, ..., 110, 56).
    """
    return tuple(itertools.accumulate(per_layer, lambda n, r: n - clamp_r(n, r, num_protected), initial=num_tokens))


def clamp_r(num_tokens: int, r: int, num_protected: int = 0) -> int:
    """Returns how many tokens a layer really removes, never more than half of the unprotected ones.

    Args:
        num_tokens: Tokens entering the layer.
        r: Tokens it is asked to remove; below 0 is 0.
        num_protected: Tokens that are never removed.
    """
    return max(0, min(r, (num_tokens - num_protected) // 2))
