"""Model and clips -> per-video predictions -> metrics, on all devices, with exact counts."""

from jax_vtm.evaluation.evaluator import Candidate, evaluate
from jax_vtm.evaluation.journal import Journal
from jax_vtm.evaluation.metrics import (
    agreement,
    correct_predictions,
    paired_difference,
    predicted_classes,
    proportion,
)
from jax_vtm.evaluation.outcome import BatchOutcome, Evaluation, Predictions, put_together
from jax_vtm.evaluation.per_class import class_counts, class_means, confusion_matrix
from jax_vtm.evaluation.processes import Processes
from jax_vtm.evaluation.ratios import ratio, ratio_difference
from jax_vtm.evaluation.shares import Standing, agree, bring_together
from jax_vtm.evaluation.start_up import connect, hold_process_id
from jax_vtm.evaluation.step import by_head, create_eval_step, head_names
from jax_vtm.evaluation.traced import TracedClip, clip_logits, trace_clip
from jax_vtm.evaluation.views import VIEW_AVERAGES, as_probabilities, combine_heads, combine_views

__all__ = [
    "VIEW_AVERAGES",
    "BatchOutcome",
    "Candidate",
    "Evaluation",
    "Journal",
    "Predictions",
    "Processes",
    "Standing",
    "TracedClip",
    "agree",
    "agreement",
    "as_probabilities",
    "bring_together",
    "by_head",
    "class_counts",
    "class_means",
    "clip_logits",
    "combine_heads",
    "combine_views",
    "confusion_matrix",
    "connect",
    "correct_predictions",
    "create_eval_step",
    "evaluate",
    "head_names",
    "hold_process_id",
    "paired_difference",
    "predicted_classes",
    "proportion",
    "put_together",
    "ratio",
    "ratio_difference",
    "trace_clip",
]
