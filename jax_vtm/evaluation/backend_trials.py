"""Attention, matching and merging by themselves: which backends agree with the plain form, and how fast each is.

The plain form writes all scores to memory and multiplies in float32 at the highest precision.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.errors import UserError
from jax_vtm.merging import MATCHINGS, MERGINGS, choose_matching, choose_merging, match, merge_weighted
from jax_vtm.merging import nearest_by_metric as nearest
from jax_vtm.merging.backends.best_match import BestMatch, cosine_scores
from jax_vtm.models.attention import (
    BACKENDS,
    attend,
    attend_along_trajectories,
    attend_over_frames,
    choose_along_trajectories,
    choose_backend,
    choose_over_frames,
)
from jax_vtm.timing import interleaved, repeats, spread, timed

# What a backend may differ from the plain form, as a share of the largest value: of float32, and where products are
# rounded to bfloat16 or the like.
BOUND, ROUNDED_BOUND = 1e-4, 2e-2
HIGHEST = "highest"


def _relative(found, true, *_):
    def of_largest(found, true):
        return jnp.abs(found.astype(jnp.float32) - true) / jnp.max(jnp.abs(true))

    return jax.tree.map(of_largest, found, true)


@dataclasses.dataclass(frozen=True)
class Part:
    """One computation at one shape, with random inputs.

    Attributes:
        what: "attention", "attention over frames", "attention along trajectories", "matching" or "merging".
        shape: Of one clip's share, as backends are chosen by it.
        dtype: Type of its inputs.
        make: Makes the inputs on the device.
        plain: The plain form.
        plain_backend: The backend that is written as the plain form is.
        backends: By name, those that this platform and type have.
        differences: (found, plain form's, inputs) -> arrays of differences, as shares of the largest value.
    """

    what: str
    shape: tuple[int, ...]
    dtype: str
    make: Callable[[], tuple[Any, ...]]
    plain: Callable[..., Any]
    plain_backend: str
    backends: Mapping[str, Callable[..., Any]]
    differences: Callable[..., Any] = _relative

    @property
    def field(self) -> str:
        """The model's field that says by which backend it is computed: the first word of what it is."""
        return self.what.partition(" ")[0]

    @property
    def bound(self) -> float:
        """What a backend may differ from the plain form."""
        # GPUs and TPUs round the factors of attention's products in float32, too.
        precise = self.field != "attention" or (self.dtype == "float32" and jax.default_backend() == "cpu")
        return BOUND if precise else ROUNDED_BOUND


@dataclasses.dataclass(frozen=True)
class Trial:
    """One backend, tried.

    Attributes:
        difference: The largest from the plain form, as a share of its largest value; None if it cannot be computed.
        ms: Median of the rounds and quartiles, as `spread` has them; None if it was not timed.
        reason: Why it is left out; empty if it agrees.
    """

    difference: float | None = None
    ms: Mapping[str, float] | None = None
    reason: str = ""


def attention(batch: int, queries: int, keys: int, heads: int, width: int, dtype: str, *, sharing: int = 1) -> Part:
    """Attention with a bias per key, as proportional attention has it.

    Args:
        batch: Rows of keys.
        queries: Of a row.
        keys: Of a row.
        heads: H.
        width: Of a head.
        dtype: Type of queries, keys and values.
        sharing: So many rows of keys have the same queries, as the frames of trajectory attention.
    """
    rows = (batch,) if sharing == 1 else (batch // sharing, sharing)

    def make() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        drawn = _drawn(rng, dtype, (rows[0], queries, heads, width), *[(*rows, keys, heads, width)] * 2)
        return *drawn, jnp.asarray(np.log(rng.integers(1, 9, size=(*rows, keys))).astype(np.float32))

    return _attention("attention", attend, choose_backend, (queries, keys, heads, width), dtype, make)


def attention_over_frames(batch: int, frames: int, places: int, heads: int, width: int, dtype: str) -> Part:
    """Attention among the tokens at one place of every frame, without a bias; its shape is of one place."""

    def make() -> tuple[Any, ...]:
        return _drawn(np.random.default_rng(0), dtype, *[(batch, frames, places, heads, width)] * 3)

    shape = (frames, frames, heads, width)
    return _attention("attention over frames", attend_over_frames, choose_over_frames, shape, dtype, make)


def attention_along_trajectories(batch: int, frames: int, patches: int, heads: int, width: int, dtype: str) -> Part:
    """Attention of every patch over its summaries of frames; its shape is of one patch."""
    channels = heads * width

    def make() -> tuple[Any, ...]:
        shapes = (batch, patches, heads, width), (batch, frames, patches, channels), (channels, heads, width)
        query, summaries, kernel = _drawn(np.random.default_rng(0), dtype, *shapes)
        return query * width**-0.5, summaries, kernel * channels**-0.5

    shape, compute = (1, frames, heads, width), attend_along_trajectories
    return _attention("attention along trajectories", compute, choose_along_trajectories, shape, dtype, make)


def _attention(what: str, compute: Callable[..., Any], choose: Callable[..., str], shape, dtype: str, make) -> Part:
    def plain(query, key, value, *bias):
        query, key, value = (part.astype(jnp.float32) for part in (query, key, value))
        return compute(query, key, value, *bias, backend="xla")

    # A kernel is not taken for every shape; another backend then stands in for it, which is tried itself.
    taken = [
        name
        for name in BACKENDS[1:]
        if exists(choose, name, dtype=dtype, shape=shape) and choose(name, dtype=dtype, shape=shape) == name
    ]
    return Part(
        what, shape, dtype, make, plain, "xla", {name: functools.partial(compute, backend=name) for name in taken}
    )


def matching(batch: int, tokens: int, width: int) -> Part:
    """Each source's most similar destination. Where several are about as similar, each of them is right."""

    def differences(found: BestMatch, true: BestMatch, metric):
        scores = cosine_scores(metric)
        reached = jnp.take_along_axis(scores, found.destination[..., None], axis=-1)[..., 0]
        return jnp.maximum(jnp.abs(found.score - true.score), jnp.abs(reached - true.score))

    def make() -> tuple[Any, ...]:
        return (jnp.asarray(np.random.default_rng(0).standard_normal((batch, tokens, width), np.float32)),)

    backends = {name: functools.partial(nearest, how=name) for name in MATCHINGS[1:] if exists(choose_matching, name)}
    plain = functools.partial(nearest, how="xla")
    return Part("matching", (tokens, width), "float32", make, plain, "xla", backends, differences)


def merging(batch: int, tokens: int, r: int, channels: int) -> Part:
    """Weighted means of tokens of which r become part of others."""

    def make() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        metric, x = (rng.standard_normal((batch, tokens, count), np.float32) for count in (16, channels))
        size = rng.integers(1, 9, size=(batch, tokens)).astype(np.float32)
        found = jax.jit(lambda metric: match(nearest(metric), r))
        return found(jnp.asarray(metric)), jnp.asarray(x), jnp.asarray(size)

    backends = {
        name: functools.partial(merge_weighted, backend=name) for name in MERGINGS[1:] if exists(choose_merging, name)
    }
    plain = functools.partial(merge_weighted, backend="scatter")
    return Part("merging", (tokens, r, channels), "float32", make, plain, "scatter", backends)


def exists(choose: Callable[..., str], name: str, **settings: Any) -> bool:
    """Whether this platform and type have a backend."""
    try:
        choose(name, **settings)
    except UserError:
        return False
    return True


def tried(part: Part, *, rounds: int, seconds: float) -> dict[str, Trial]:
    """Compares every backend with the plain form, and times those that agree, in turn.

    Args:
        part: What to compute.
        rounds: In each of which every backend has its turn.
        seconds: Of a backend in a round, at least; short ones are repeated.

    Returns:
        By backend, in the part's order.
    """
    inputs = part.make()
    with jax.default_matmul_precision(HIGHEST):
        true = jax.block_until_ready(jax.jit(part.plain)(*inputs))
    largest = jax.jit(lambda found, *more: jax.tree.map(jnp.max, part.differences(found, *more)))
    trials, timers = {}, {}
    for name, backend in part.backends.items():
        try:
            program = jax.jit(backend).lower(*inputs).compile()
            with jax.default_matmul_precision(HIGHEST):
                difference = max(map(float, jax.tree.leaves(largest(program(*inputs), true, *inputs))))
        # Whatever a kernel does on a device that it has never run on, the others are still there.
        except Exception as error:
            trials[name] = Trial(reason=reason(error))
            continue
        # Not a number does not agree either.
        agrees = difference <= part.bound
        differs = f"differs by {difference:.1g} from the plain form, more than {part.bound:g}"
        trials[name] = Trial(difference, reason="" if agrees else differs)
        if agrees:
            timers[name] = timed(functools.partial(_waited_for, program, inputs))
    found = list(interleaved({name: (timer, repeats(timer, seconds)) for name, timer in timers.items()}, rounds))
    for name in timers:
        trials[name] = dataclasses.replace(trials[name], ms=spread([1e3 * one[name].wall for one in found]))
    return trials


def reason(error: Exception) -> str:
    """Says in a line why a backend cannot compute something."""
    return f"fails: {str(error).strip().partition(chr(10))[0][:200] or type(error).__name__}"


def _drawn(rng: np.random.Generator, dtype: str, *shapes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(rng.standard_normal(shape, np.float32), dtype) for shape in shapes)


def _waited_for(program: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    return jax.block_until_ready(program(*inputs))
