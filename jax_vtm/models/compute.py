"""How a model is computed, as one value that goes from the model to every layer of it."""

import dataclasses

from jax.typing import DTypeLike

from jax_vtm.merging import choose_matching, choose_merging
from jax_vtm.models.attention import choose_backend


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
    attention: str = "auto"
    matching: str = "auto"
    merging: str = "auto"
    platform: str | None = None

    @property
    def chosen(self) -> dict[str, str]:
        """The backends of attention, matching and merging, "auto" resolved.

        Raises:
            UserError: One that is unknown, or that the platform or the type does not have.
        """
        return {
            "attention": choose_backend(self.attention, self.dtype, self.platform),
            "matching": choose_matching(self.matching, self.platform),
            "merging": choose_merging(self.merging, self.platform),
        }
