"""Which of the ways to match and to merge is taken, and why one that was asked for cannot be."""

import jax

from jax_vtm.errors import UserError

MATCHINGS = ("auto", "xla", "chunked", "pallas")
MERGINGS = ("auto", "scatter", "segment", "sorted", "one_hot")


def choose_matching(asked: str, platform: str | None = None) -> str:
    """Returns how each token's most similar partner is found: "xla", "chunked" or "pallas" (see `best_match`).

    Args:
        asked: One of `MATCHINGS`. "auto" is "chunked" on a CPU, where it is fastest, and "xla" elsewhere. The kernel
            has to be asked for: its arithmetic is tested, but it has not run on the devices that it is for.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.

    Raises:
        UserError: An unknown name, or the kernel on a CPU.
    """
    if asked not in MATCHINGS:
        raise UserError(f"matching is {asked!r}; known are {', '.join(MATCHINGS)}.")
    platform = platform or jax.default_backend()
    if asked == "auto":
        return "chunked" if platform == "cpu" else "xla"
    if asked == "pallas" and platform not in ("gpu", "tpu"):
        raise UserError(
            f"matching is 'pallas', which needs a GPU or a TPU, but JAX runs on {platform!r} here. Use 'auto', 'xla' "
            "or 'chunked', which run everywhere."
        )
    return asked


def choose_merging(asked: str, platform: str | None = None) -> str:
    """Returns how tokens are added up: "scatter", "segment", "sorted" or "one_hot" (see `scatter_add`).

    Args:
        asked: One of `MERGINGS`. "auto" is "scatter" on a CPU, where it is fastest, and "one_hot" elsewhere: float32
            scatter-add is a loop of retries on GPUs with some versions of jaxlib (0.10.2 to 0.11.0), and may be a loop
            over single rows on TPUs. Neither was measured here.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.

    Raises:
        UserError: An unknown name.
    """
    if asked not in MERGINGS:
        raise UserError(f"merging is {asked!r}; known are {', '.join(MERGINGS)}.")
    platform = platform or jax.default_backend()
    if asked == "auto":
        return "scatter" if platform == "cpu" else "one_hot"
    return asked
