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
from jax_vtm.models.attention import BACKENDS, attend, choose_backend
from jax_vtm.timing import interleaved, repeats, spread, timed

# What a backend may differ from the plain form, as a share of the largest value: of float32, and where products are
# rounded to bfloat16 or the like.
BOUND, ROUNDED_BOUND = 1e-4, 2e-2
HIGHEST = "highest"


@dataclasses.dataclass(frozen=True)
class Part:
    """One computation at one shape, with random inputs.

    Attributes:
        what: "attention", "matching" or "merging".
        shape: Of one clip's share, as backends are chosen by it.
        dtype: Type of its inputs.
        make: Makes the inputs on the device.
        plain: The plain form.
        backends: By name, those that this platform and type have.
        differences: (found, plain form's, inputs) -> arrays of differences, as shares of the largest value.
    """

    what: str
    shape: tuple[int, ...]
    dtype: str
    make: Callable[[], tuple[Any, ...]]
    plain: Callable[..., Any]
    backends: Mapping[str, Callable[..., Any]]
    differences: Callable[..., Any]

    @property
    def bound(self) -> float:
        """What a backend may differ from the plain form."""
        # GPUs and TPUs round the factors of attention's products in float32, too.
        precise = self.what != "attention" or (self.dtype == "float32" and jax.default_backend() == "cpu")
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


def attention(batch: int, queries: int, keys: int, heads: int, width: int, dtype: str) -> Part:
    """Attention with a bias per key, as proportional attention has it."""

    def make() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        query = rng.standard_normal((batch, queries, heads, width), np.float32)
        key, value = (rng.standard_normal((batch, keys, heads, width), np.float32) for _ in range(2))
        log_size = np.log(rng.integers(1, 9, size=(batch, keys))).astype(np.float32)
        return *(jnp.asarray(part, dtype) for part in (query, key, value)), jnp.asarray(log_size)

    def plain(query, key, value, log_size):
        query, key, value = (part.astype(jnp.float32) for part in (query, key, value))
        return attend(query, key, value, log_size, backend="xla")

    backends = {
        name: functools.partial(attend, backend=name)
        for name in BACKENDS[1:]
        if exists(choose_backend, name, dtype=dtype)
    }
    shape = (queries, keys, heads, width)
    return Part("attention", shape, dtype, make, plain, backends, lambda found, true, *_: _relative(found, true))


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
    return Part("matching", (tokens, width), "float32", make, plain, backends, differences)


def merging(batch: int, tokens: int, r: int, channels: int) -> Part:
    """Weighted means of tokens of which r become part of others."""

    def make() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        metric, x = (rng.standard_normal((batch, tokens, count), np.float32) for count in (16, channels))
        size = rng.integers(1, 9, size=(batch, tokens)).astype(np.float32)
        found = jax.jit(lambda metric: match(nearest(metric), r))
        return found(jnp.asarray(metric)), jnp.asarray(x), jnp.asarray(size)

    def differences(found, true, *_):
        return jax.tree.map(_relative, found, true)

    backends = {
        name: functools.partial(merge_weighted, backend=name) for name in MERGINGS[1:] if exists(choose_merging, name)
    }
    plain = functools.partial(merge_weighted, backend="scatter")
    return Part("merging", (tokens, r, channels), "float32", make, plain, backends, differences)


def exists(choose: Callable[..., str], name: str, **settings: str) -> bool:
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


def _waited_for(program: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    return jax.block_until_ready(program(*inputs))


def _relative(found, true):
    return jnp.abs(found.astype(jnp.float32) - true) / jnp.max(jnp.abs(true))
