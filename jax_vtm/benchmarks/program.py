"""Programs compiled ahead of time, with what that took: whatever is timed later has nothing left to compile."""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.experimental.compilation_cache import compilation_cache

from jax_vtm.merging import TokenReduction, TokenState
from jax_vtm.merging.schedule import clamp_r
from jax_vtm.timing import Timer, spread, timed


class Program(NamedTuple):
    """A compiled function, and what compiling took.

    The facts are "traces" (how often Python went through the function), "trace_s", "compile_s", "cached_compile_s"
    (from the persistent cache; None where that was not tried) and "program_bytes", what the compiler says a run holds
    as "arguments", "outputs", "temporaries" and "total"; None where it does not say.
    """

    run: Callable[..., Any]
    facts: dict[str, Any]


def compiled(function: Callable[..., Any], *arguments: Any, cached: bool = False) -> Program:
    """Compiles a function for arguments, or for their shapes.

    Args:
        function: A pure function.
        arguments: Arrays on the device that the program is to run on.
        cached: Whether to time, too, how long the program takes to come from the persistent cache. It is an empty one
            of its own: a program that somebody compiled yesterday would not be timed.
    """
    traces = 0

    def counted(*args: Any) -> Any:
        nonlocal traces
        traces += 1
        return function(*args)

    with own_cache(cached):
        program, trace_s, compile_s = _compiled(counted, arguments)
        facts = {"traces": traces, "trace_s": trace_s, "compile_s": compile_s}
        facts["cached_compile_s"] = _compiled(counted, arguments)[2] if cached else None
    return Program(program, {**facts, "program_bytes": _bytes(program)})


def _compiled(function: Callable[..., Any], arguments: Any) -> tuple[Any, float, float]:
    # A function of its own, for which JAX remembers nothing yet, under the same name, which is part of the cache's key.
    def model(*args: Any) -> Any:
        return function(*args)

    start = time.perf_counter()
    lowered = jax.jit(model).lower(*arguments)
    traced = time.perf_counter()
    program = lowered.compile()
    return program, traced - start, time.perf_counter() - traced


@contextlib.contextmanager
def own_cache(wanted: bool) -> Iterator[None]:
    """Lets the persistent cache be an empty folder, or none; afterwards all is as it was."""
    with tempfile.TemporaryDirectory() if wanted else contextlib.nullcontext() as folder:
        settings = {
            "jax_enable_compilation_cache": wanted,
            "jax_compilation_cache_dir": folder,
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        before = {name: getattr(jax.config, name) for name in settings}
        try:
            _switch(settings)
            yield
        finally:
            _switch(before)


def _switch(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    # JAX opens its cache once, for the folder of that moment.
    compilation_cache.reset_cache()


def _bytes(program: Any) -> dict[str, int] | None:
    try:
        analysis = program.memory_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        analysis = None
    if analysis is None:
        return None
    parts = {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
    }
    return {**parts, "total": sum(parts.values())}


def truncation(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of Flax modules whose layers keep their first tokens in place of merging.

    It predicts nothing of use. Its time is the lower bound of a merging model's, at the same shapes: what lies between
    the two is the price of matching and merging, and what the matching's feature costs.
    """

    def truncated(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(_keep_the_first):
            return call(*args, **kwargs)

    return truncated


def _keep_the_first(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    module = context.module
    if not isinstance(module, TokenReduction) or context.method_name != "__call__" or module.reduction.mode == "none":
        return call(*args, **kwargs)
    x, _, state, *_ = args
    kept = x.shape[1] - clamp_r(x.shape[1], module.r, int(module.class_token))
    # Sizes depend on the tokens as real ones do, so that the compiler does not find their logarithm to be zero and
    # leave proportional attention out.
    size = state.size[:, :kept] + 0 * x[:, :kept, 0].astype(state.size.dtype)
    return x[:, :kept], TokenState(size=size)


@dataclasses.dataclass(eq=False)
class Peak:
    """A program that does as much as the machine can of one thing.

    Attributes:
        description: What it does.
        timer: Does it.
        amount: Multiply-accumulates, or bytes read and written, of doing it once.
        unit: "MAC" or "byte".
        seconds: Of doing it once, in every round so far.
    """

    description: str
    timer: Timer
    amount: int
    unit: str
    seconds: list[float] = dataclasses.field(default_factory=list)

    def result(self) -> dict[str, Any]:
        """What it came to per second."""
        per_s = spread([self.amount / one for one in self.seconds])
        return {"description": self.description, "unit": self.unit, "per_s": per_s}


def matrix_product(size: int, dtype: str) -> Peak:
    """A product of two square matrices, at the precision at which models multiply."""
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    program = compiled(jnp.matmul, a, a).run
    call = timed(lambda: jax.block_until_ready(program(a, a)))
    return Peak(f"{size} x {size} matrix product, {dtype}", call, size**3, "MAC")


def copy(num_bytes: int) -> Peak:
    """A pass over an array that reads and writes all of it."""
    array = jnp.ones(num_bytes // 4, jnp.float32)
    program = compiled(lambda values: values + 1, array).run
    call = timed(lambda: jax.block_until_ready(program(array)))
    return Peak(f"copy of {num_bytes / 2**20:.0f} MiB, counted twice", call, 2 * num_bytes, "byte")
