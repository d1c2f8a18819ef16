"""The user's settings of a reduction: what is done, how much of it, and in which layers."""

import dataclasses
import math
from collections.abc import Sequence

from jax_vtm.errors import UserError
from jax_vtm.merging.schedule import expand_r
from jax_vtm.merging.scores import HEAD_AGGREGATIONS

MODES = ("none", "merge", "random_merge", "drop", "random_drop", "hybrid")
LAYOUTS = ("reference", "fixed")


@dataclasses.dataclass(frozen=True)
class Reduction:
    """Training-free token reduction between attention and MLP of every layer. Hashable, so it can be a module's field.

    Attributes:
        r: Tokens to remove per layer, or one entry per layer (a shorter list: no reduction in the remaining layers).
            More than a layer can remove is clamped; `tokens_per_layer` in every result says what was done.
        inflection: Slope of the schedule in [-1, 1]: -1 decreasing from 2r to 0, 0 constant, 1 increasing.
        mode: "none", "merge" (size-weighted mean), "drop" (removed tokens vanish), "hybrid" (merge, but a token that
            receives an edge below `threshold` is replaced instead of averaged), and "random_merge" and "random_drop",
            whose scores are uniform numbers from the Flax RNG stream "reduction".
        proportional_attention: Adds log(size) to the attention scores of each key. None takes the model's own
            default: True, for VideoMAE False. Without effect in the drop modes, where all sizes are one.
        head_aggregation: The matching's feature: "mean" of the keys over heads, or "concat". Every model honours both;
            the PyTorch reference takes the mean for TimeSformer and Motionformer whatever is asked for.
        threshold: Cosine similarity below which the hybrid mode replaces.
        layout: "reference" reproduces the PyTorch reference's token grouping; "fixed" corrects its faults. The two
            are the same thing for ViViT with a class token.
        repeat_layer: (layer, times): in ViViT and VideoMAE, that layer's matching and merging is done `times` times
            before its MLP; TimeSformer and Motionformer run the whole layer `times` times, with the same weights. As in
            the reference, for the paper's study of layers. `r` then has one entry per repetition.
    """

    r: int | Sequence[int] = 0
    inflection: float = 0.0
    mode: str = "merge"
    proportional_attention: bool | None = None
    head_aggregation: str = "mean"
    threshold: float = 0.0
    layout: str = "reference"
    repeat_layer: tuple[int, int] | None = None

    def __post_init__(self):
        if isinstance(self.r, Sequence):
            object.__setattr__(self, "r", tuple(self.r))
        if self.repeat_layer is not None:
            object.__setattr__(self, "repeat_layer", tuple(self.repeat_layer))
        for field, known in (("mode", MODES), ("head_aggregation", HEAD_AGGREGATIONS), ("layout", LAYOUTS)):
            if getattr(self, field) not in known:
                raise UserError(f"reduction.{field} is {getattr(self, field)!r}; known are {', '.join(known)}.")
        if math.isnan(self.threshold):
            raise UserError("reduction.threshold is NaN; expected a cosine similarity, usually from -1 to 1.")
        if self.repeat_layer is not None and (self.repeat_layer[0] < 0 or self.repeat_layer[1] < 1):
            raise UserError(
                f"reduction.repeat_layer is {self.repeat_layer}; "
                "expected (layer, times) with layer >= 0 and times >= 1."
            )
        # Whatever else is wrong with r and inflection shows here, where the user can see it, and not inside a model.
        expand_r(self.r, len(self.r) if isinstance(self.r, tuple) else 1, self.inflection)

    @property
    def is_random(self) -> bool:
        """Whether the scores are drawn from the RNG stream "reduction"."""
        return self.mode.startswith("random_")

    @property
    def drops(self) -> bool:
        """Whether removed tokens vanish."""
        return self.mode.endswith("drop")

    def resolved(self, proportional_attention: bool) -> "Reduction":
        """The same with a model's own `proportional_attention` where it was left to the model."""
        if self.mode == "none" or self.proportional_attention is not None:
            return self
        return dataclasses.replace(self, proportional_attention=proportional_attention)

    @property
    def adds_log_size(self) -> bool:
        """Whether attention adds log(size) to the scores of each key; the reduction is a `resolved` one."""
        return bool(self.proportional_attention) and self.mode != "none" and not self.drops

    def per_layer(self, num_layers: int) -> tuple[tuple[int, ...], ...]:
        """Returns the tokens to remove in every step of every layer: one step each, unless a layer is repeated.

        Raises:
            UserError: A list longer than the number of steps, or a repeated layer that the model does not have.
        """
        layer, times = self.repeat_layer or (0, 1)
        if layer >= num_layers:
            raise UserError(f"reduction.repeat_layer names layer {layer}; the model has layers 0 to {num_layers - 1}.")
        num_steps = num_layers + times - 1
        steps = (0,) * num_steps if self.mode == "none" else expand_r(self.r, num_steps, self.inflection)
        return tuple(
            steps[i : i + 1] if i < layer else steps[i : i + times] if i == layer else steps[i + times - 1 :][:1]
            for i in range(num_layers)
        )


def no_reduction() -> Reduction:
    """The reduction that does nothing: the model as it was trained."""
    return Reduction(mode="none")
