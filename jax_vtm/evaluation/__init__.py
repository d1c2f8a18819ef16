"""Model and clips -> per-video predictions -> metrics, on all devices, with exact counts."""

from jax_vtm.evaluation.evaluator import Candidate, evaluate
from jax_vtm.evaluation.journal import Journal
from jax_vtm.evaluation.metrics import agreement, correct_predictions, paired_difference, proportion
from jax_vtm.evaluation.outcome import BatchOutcome, Evaluation, Predictions
from jax_vtm.evaluation.step import by_head, create_eval_step, head_names

__all__ = [
    "BatchOutcome",
    "Candidate",
    "Evaluation",
    "Journal",
    "Predictions",
    "agreement",
    "by_head",
    "correct_predictions",
    "create_eval_step",
    "evaluate",
    "head_names",
    "paired_difference",
    "proportion",
]
