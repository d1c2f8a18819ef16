"""Model and clips -> per-video predictions -> metrics, on all devices, with exact counts."""

from jax_vtm.evaluation.batch_result import BatchResult, Evaluation, Predictions, concatenate
from jax_vtm.evaluation.distributed import connect, hold_process_id
from jax_vtm.evaluation.evaluator import Variant, evaluate
from jax_vtm.evaluation.metrics import (
    agreement,
    correct_predictions,
    main_metric,
    paired_difference,
    predicted_classes,
    proportion,
)
from jax_vtm.evaluation.per_class import class_counts, class_means, confusion_matrix
from jax_vtm.evaluation.processes import Processes
from jax_vtm.evaluation.resume import ResumeState, gather_results
from jax_vtm.evaluation.step import by_head, create_eval_step, head_names
from jax_vtm.evaluation.traced import TracedClip, clip_logits, trace_clip
from jax_vtm.evaluation.views import VIEW_AVERAGES, as_probabilities, combine_heads, combine_views

__all__ = [
    "VIEW_AVERAGES",
    "BatchResult",
    "Evaluation",
    "Predictions",
    "Processes",
    "ResumeState",
    "TracedClip",
    "Variant",
    "agreement",
    "as_probabilities",
    "by_head",
    "class_counts",
    "class_means",
    "clip_logits",
    "combine_heads",
    "combine_views",
    "concatenate",
    "confusion_matrix",
    "connect",
    "correct_predictions",
    "create_eval_step",
    "evaluate",
    "gather_results",
    "head_names",
    "hold_process_id",
    "main_metric",
    "paired_difference",
    "predicted_classes",
    "proportion",
    "trace_clip",
]
