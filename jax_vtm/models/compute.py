"""How a model is computed, as one value that goes from the model to every layer of it; and weights in its type."""

import dataclasses
from typing import Any

from jax.typing import DTypeLike

from jax_vtm.merging import choose_matching, choose_merging
from jax_vtm.merging.backends.choice import Measured
from jax_vtm.models.attention import choose_backend

# What the blocks of every model are called; outside of them everything computes in float32.
_BLOCK = "encoderblock_"


@dataclasses.dataclass(frozen=True)
class Compute:
    """Types and backends; parameters and results do not depend on them but for rounding.

    Attributes:
        dtype: Type of attention, MLPs and their normalisations; None is float32.
        attention: How attention is computed (see `attention.choose_backend`).
        matching: How each source's best match is found (see `merging.choose_matching`).
        merging: How tokens are added up (see `merging.choose_merging`).
        platform: "cpu", "gpu" or "tpu", for which programs are made; None is the one that JAX runs on.
    """

    dtype: DTypeLike | None = None
    attention: str | Measured = "auto"
    matching: str | Measured = "auto"
    merging: str | Measured = "auto"
    platform: str | None = None

    @property
    def measured(self) -> list[str]:
        """How "auto" was resolved where it was by measuring, a line for each shape."""
        asked = (self.attention, self.matching, self.merging)
        return [line for one in asked if isinstance(one, Measured) for line in one.said]

    @property
    def chosen(self) -> dict[str, str]:
        """The backends of attention, matching and merging, "auto" resolved; of several by shape the first layer's.

        Raises:
            UserError: One that is unknown, or that the platform or the type does not have.
        """
        return {
            "attention": choose_backend(self.attention, self.platform, dtype=self.dtype),
            "matching": choose_matching(self.matching, self.platform),
            "merging": choose_merging(self.merging, self.platform),
        }


def narrowed(params: dict[str, Any], dtype: DTypeLike | None) -> dict[str, Any]:
    """Rounds the kernels and biases of the blocks' projections and MLPs to a model's dtype, once, for inference.

    A model with that dtype gives the same results, bit by bit, as with the weights as they were: it would round them
    in every step. Normalisations, embeddings, positions and heads compute in float32, and keep their weights.

    Args:
        params: A model's parameters; left as they are.
        dtype: The model's `dtype`; None is float32, and gives back what is given.
    """
    return params if dtype is None else _narrowed(params, dtype, within_block=False)


def _narrowed(module: dict[str, Any], dtype: DTypeLike, *, within_block: bool) -> dict[str, Any]:
    projects = within_block and "kernel" in module
    found = {}
    for name, entry in module.items():
        if hasattr(entry, "items"):
            found[name] = _narrowed(entry, dtype, within_block=within_block or name.startswith(_BLOCK))
        else:
            found[name] = entry.astype(dtype) if projects else entry
    return found
