"""The models that an evaluation has side by side."""

from jax_vtm.config import Config
from jax_vtm.evaluation import Candidate
from jax_vtm.merging import no_reduction
from jax_vtm.running import build
from jax_vtm.running.reductions import UNMERGED, run_name


def load_candidates(config: Config) -> list[Candidate]:
    """Loads the checkpoint and gives its parameters to the model unmerged and, if asked for, merged.

    Raises:
        UserError: No checkpoint, or one that does not fit.
    """
    reduction = build.reduction(config)
    unmerged = build.model(config, no_reduction())
    params = build.inference_params(config, unmerged)
    candidates = [Candidate(UNMERGED, unmerged, params)]
    if reduction.mode != "none":
        candidates.append(Candidate(run_name(reduction), build.model(config, reduction), params))
    return candidates
