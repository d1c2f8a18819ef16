"""What schedules cost: MACs, counted from the shapes, or milliseconds, from layers timed on this device."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.optimize import nnls

from jax_vtm.calibration.search import Tokens, left_after
from jax_vtm.errors import UserError
from jax_vtm.merging import InputReduction, Reduction, TokenState, initial_state
from jax_vtm.models import FactorisedEncoderViViT, VideoClassifier, VideoMAE, ViViT
from jax_vtm.models.macs import embedding_macs, encoder_macs
from jax_vtm.models.transformer import TransformerBlock
from jax_vtm.timing import interleaved, repeats, timed

ROUNDS, LEAST_SECONDS = 5, 0.05

# Tokens at which a layer is timed, as shares of all; between them its time is read on a straight line.
TIMED_SHARES = (1, 0.75, 0.5, 0.25, 0.125, 1 / 32)

# Whole models that are timed: the first layer leaves so many times half of all tokens, in steps, and the others remove
# none; in one more model every layer removes half.
WHOLE_OCTAVES = (0, 1, 2, 3)

# A layer that removes tokens in several steps removes half an octave in each at most: three of ten.
STEP = 0.5


class Schedule(NamedTuple):
    """Tokens before the first layer and after each.

    Attributes:
        tokens: Their numbers, those that are never removed included.
        stepwise: Whether the first layer removes its tokens in steps (`Joint.steps`), each of which matches anew. All
            but the last come before its attention, which then is of fewer tokens.
    """

    tokens: Tokens
    stepwise: bool = False


@dataclasses.dataclass(frozen=True)
class Joint:
    """The layers of a model in which tokens merge, each of joint attention, all alike.

    Attributes:
        model: The model, unmerged.
        reduction: What merges, whatever its r.
        layers: How many there are.
        tokens: Tokens that enter the first, class token included; of a factorised encoder, those of a time index.
        protected: Tokens that are never removed.
        mlp_dim: Width of the MLPs.
        num_heads: Attention heads.
        times: How often the layers are gone through for a clip.
    """

    model: VideoClassifier
    reduction: Reduction
    layers: int
    tokens: int
    protected: int
    mlp_dim: int
    num_heads: int
    times: int = 1

    @classmethod
    def of(cls, model: VideoClassifier, reduction: Reduction) -> "Joint":
        """Reads the layers of a model.

        Raises:
            UserError: They attend in another way.
        """
        shape = (model.tokens_per_layer[0], int(model.has_class_token))
        if isinstance(model, FactorisedEncoderViViT):
            return cls(
                model,
                reduction,
                model.spatial_layers,
                *shape,
                model.spatial_mlp_dim,
                model.spatial_heads,
                model.grid[0],
            )
        if isinstance(model, ViViT | VideoMAE):
            return cls(model, reduction, model.num_layers, *shape, model.mlp_dim, model.num_heads)
        raise UserError(
            f"calibrate searches for layers that attend to all tokens at once; {type(model).__name__}'s do not. ViViT "
            "and VideoMAE can be calibrated."
        )

    def steps(self, entering: int, leaving: int) -> Tokens:
        """Returns the tokens left after each step where a layer removes them in as many as are needed."""
        octaves = math.log2((entering - self.protected) / (leaving - self.protected))
        count = max(1, math.ceil(round(octaves / STEP, 9)))
        between = (left_after(entering, self.protected, octaves * step / count) for step in range(1, count))
        return (*between, leaving)

    def reduced(self, schedule: Schedule) -> Reduction:
        """Returns the reduction that leaves so many tokens before the first layer and after each."""
        entering, first, *rest = schedule.tokens
        steps = self.steps(entering, first) if schedule.stepwise else (first,)
        kept = None
        if entering < self.tokens:
            by = self.reduction.input.by if self.reduction.input else "run_length"
            kept = InputReduction(entering - self.protected, by)
        r = tuple(a - b for a, b in itertools.pairwise((entering, *steps, *rest)))
        repeat = (0, len(steps)) if len(steps) > 1 else None
        return dataclasses.replace(self.reduction, r=r, inflection=0.0, repeat_layer=repeat, input=kept)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a clip costs.

    Attributes:
        unit: "MACs" or "ms".
        outside: Cost apart from the layers, by the tokens that enter the first.
        layer: Cost of a layer by the tokens that enter and leave it.
        stepwise: The same of one that removes them in steps.
        unmerged: Cost of the unmerged model.
    """

    unit: str
    outside: Callable[[int], float]
    layer: Callable[[int, int], float]
    stepwise: Callable[[int, int], float]
    unmerged: float

    def of(self, schedule: Schedule) -> float:
        """The cost of a schedule."""
        first, *others = itertools.pairwise(schedule.tokens)
        in_first = (self.stepwise if schedule.stepwise else self.layer)(*first)
        return self.outside(schedule.tokens[0]) + in_first + sum(self.layer(a, b) for a, b in others)


def mac_cost(joint: Joint) -> Cost:
    """Counts multiply-accumulates; of any schedule exactly as many as its model's `macs`."""
    model = joint.model
    sizes = (model.hidden_size, joint.mlp_dim, joint.num_heads)

    def of_steps(entering: int, steps: Tokens) -> int:
        counts = (entering, *steps)
        r = tuple(a - b for a, b in itertools.pairwise(counts))
        one = dataclasses.replace(joint.reduction, r=r, inflection=0.0, repeat_layer=(0, len(steps)))
        return joint.times * encoder_macs(one, 1, counts, *sizes).total

    @functools.cache
    def layer(entering: int, leaving: int) -> int:
        return of_steps(entering, (leaving,))

    @functools.cache
    def stepwise(entering: int, leaving: int) -> int:
        return of_steps(entering, joint.steps(entering, leaving))

    def embedding(patches: int) -> int:
        return embedding_macs(patches, model.patch_size, model.hidden_size).total

    rest = model.macs.total - joint.layers * layer(joint.tokens, joint.tokens)
    saved = embedding(1)
    return Cost("MACs", lambda tokens: rest - saved * (joint.tokens - tokens), layer, stepwise, model.macs.total)


class Timed(NamedTuple):
    """What was timed, in milliseconds per clip.

    Attributes:
        layers: Rows of one layer: tokens `entering` and `removed`, and `ms`.
        models: Rows of whole models: `tokens` of the schedule, `ms`, and what was `fitted` to all of them.
    """

    layers: Sequence[Mapping[str, Any]] = ()
    models: Sequence[Mapping[str, Any]] = ()


def latency_cost(joint: Joint, whole: Callable[[Reduction], Callable[[], Any]], clips: int) -> tuple[Cost, Timed]:
    """Times a layer at several numbers of tokens, in turns with a few whole models.

    Three things are timed for each number: the layer as it is, removing one token, and removing half. The time of any
    other number that leaves is on the line between the last two. A layer by itself is not as fast as the same layer
    within a model, whose caches hold other things: a model takes a constant time, a multiple of the sum of its layers,
    and for each step before the first layer's attention a share of a layer's time. These three are fitted to the whole
    models by least squares of the relative errors. Before the first layer every patch is taken for equally expensive
    whether it stays or not, so that the saving there is in the layers alone.

    Args:
        joint: The layers.
        whole: Returns what runs the whole model with a reduction on so many clips, and waits for it.
        clips: How many go through the model at a time.

    Returns:
        The cost of a clip, and what was timed.
    """
    block, rows = _block(joint, clips)
    free = joint.tokens - joint.protected
    entering = sorted({max(2, round(free * share)) for share in TIMED_SHARES})
    removed = {(n, r): _call(block, joint, rows, n, r) for n in entering for r in dict.fromkeys((0, 1, n // 2))}
    left = [left_after(joint.tokens, joint.protected, octaves) for octaves in WHOLE_OCTAVES]
    schedules = [Schedule((joint.tokens, *[n] * joint.layers), stepwise=True) for n in left]
    halved = [joint.tokens]
    for _ in range(joint.layers):
        halved.append(halved[-1] - (halved[-1] - joint.protected) // 2)
    schedules.append(Schedule(tuple(halved)))
    calls = {**removed, **{one: whole(joint.reduced(one)) for one in schedules}}
    timers = {name: (timed(call), repeats(timed(call), LEAST_SECONDS)) for name, call in calls.items()}
    rounds = list(interleaved(timers, ROUNDS))
    ms = {name: 1e3 * float(np.median([one[name].wall for one in rounds])) / clips for name in calls}

    def column(removes: Callable[[int], int]) -> list[float]:
        # More tokens never take less time, however the rounds came out.
        return np.maximum.accumulate([ms[n, removes(n)] for n in entering]).tolist()

    as_it_is, one, half = column(lambda n: 0), column(lambda n: 1), column(lambda n: n // 2)

    def layer(tokens: int, leaving: int) -> float:
        n = tokens - joint.protected
        if tokens == leaving:
            return float(np.interp(n, entering, as_it_is))
        least, most = float(np.interp(n, entering, one)), float(np.interp(n, entering, half))
        return least + (most - least) * (tokens - leaving) / max(n // 2, 1)

    def in_steps(tokens: int, leaving: int) -> tuple[float, float]:
        # The last step follows attention, as in any layer.
        *earlier, last = (tokens, *joint.steps(tokens, leaving)[:-1])
        return layer(last, leaving), sum(float(np.interp(n - joint.protected, entering, one)) for n in earlier)

    def parts(schedule: Schedule) -> tuple[float, float, float]:
        layers = Cost("ms", lambda _: 0.0, layer, lambda a, b: in_steps(a, b)[0], 0.0).of(schedule)
        return 1.0, layers, in_steps(*schedule.tokens[:2])[1] if schedule.stepwise else 0.0

    measured = np.array([ms[one] for one in schedules])
    sums = np.array([parts(one) for one in schedules])
    factors, _ = nnls(sums / measured[:, None], np.ones(len(measured)))
    rest, of_layers, of_steps = factors.tolist()
    fitted = (sums @ factors).tolist()

    def stepwise(tokens: int, leaving: int) -> float:
        last, earlier = in_steps(tokens, leaving)
        return of_layers * last + of_steps * earlier

    cost = Cost("ms", lambda _: rest, lambda a, b: of_layers * layer(a, b), stepwise, fitted[0])
    layers = [{"entering": n + joint.protected, "removed": r, "ms": ms[n, r]} for n, r in removed]
    models = [
        {"tokens": list(one.tokens), "ms": ms[one], "fitted": value}
        for one, value in zip(schedules, fitted, strict=True)
    ]
    return cost, Timed(layers, models)


def _block(joint: Joint, clips: int) -> tuple[TransformerBlock, int]:
    """Returns the first layer's module, and how many rows of tokens so many clips are for it."""
    found: list[tuple[Any, int]] = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, TransformerBlock) and context.method_name == "__call__" and not found:
            found.append((context.module, args[0].shape[0]))
        return call(*args, **kwargs)

    def run(video):
        with nn.intercept_methods(note):
            return joint.model.init_with_output(jax.random.key(0), video)[0]

    jax.eval_shape(run, jax.ShapeDtypeStruct((clips, *joint.model.input_shape), jnp.float32))
    return found[0]


def _call(block: TransformerBlock, joint: Joint, rows: int, free: int, r: int) -> Callable[[], Any]:
    one = block.clone(parent=None, name=None, reduction=joint.reduction, r_per_step=(r,))
    x = jax.random.normal(jax.random.key(1), (rows, joint.protected + free, joint.model.hidden_size))
    state: TokenState = initial_state(*x.shape[:2])
    rngs: Mapping[str, Any] = {"params": jax.random.key(0), "reduction": jax.random.key(2)}
    params = one.init(rngs, x, state)["params"]
    step = jax.jit(
        lambda params, x, state: one.apply({"params": params}, x, state, rngs={"reduction": rngs["reduction"]})
    )
    return lambda: jax.block_until_ready(step(params, x, state))
