"""A function compiled ahead of time, with what that took: whatever is timed later has nothing left to compile."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function.

    Attributes:
        run: The program; it takes what the function was compiled for, on the device, and nothing else.
        traces: How often Python went through the function to make it.
        trace_s: Seconds from Python to what the compiler is given.
        compile_s: Seconds of the compiler.
        cached_compile_s: Seconds to get the same program from the persistent cache; None where that was not tried.
        memory: What the compiler says a run holds, in bytes: "arguments", "outputs", "temporaries", and "together".
            None where it does not say.
    """

    run: Callable[..., Any]
    traces: int
    trace_s: float
    compile_s: float
    cached_compile_s: float | None
    memory: dict[str, int] | None


def compiled(function: Callable[..., Any], *arguments: Any, cache_folder: str | None = None) -> Program:
    """Compiles a function for arguments, or for their shapes.

    Args:
        function: A pure function.
        arguments: Arrays on the device that the program is to run on.
        cache_folder: Where compiled programs are kept in between, in order to time that; an empty folder. Any other
            persistent cache is left alone: a program that somebody compiled yesterday would not be timed.
    """
    traces = 0

    def counted(*args: Any) -> Any:
        nonlocal traces
        traces += 1
        return function(*args)

    with _cache_in(cache_folder):
        program, trace_s, compile_s = _compiled(counted, arguments)
        traced = traces
        cached_compile_s = _compiled(counted, arguments)[2] if cache_folder else None
    return Program(program, traced, trace_s, compile_s, cached_compile_s, _memory(program))


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
def _cache_in(folder: str | None) -> Iterator[None]:
    """Sets the persistent cache to a folder, and none for None; afterwards all is as it was."""
    settings = {
        "jax_enable_compilation_cache": folder is not None,
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _switch(settings)
    try:
        yield
    finally:
        _switch(before)


def _switch(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    # JAX opens its cache once, for the folder of that moment.
    compilation_cache.reset_cache()


def _memory(program: Any) -> dict[str, int] | None:
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
    return {**parts, "together": sum(parts.values())}
