"""What reductions lose on clips, next to the unmerged model: passes over the clips, each kept, so that all resumes."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource
from jax_vtm.errors import UserError
from jax_vtm.evaluation import (
    Evaluation,
    Processes,
    ResumeState,
    Variant,
    as_probabilities,
    combine_heads,
    predicted_classes,
)
from jax_vtm.evaluation.run_names import UNMERGED, effective, run_name
from jax_vtm.evaluation.run_pass import check_readable, run_pass
from jax_vtm.files import AnyPath, remove_leftovers, set_aside
from jax_vtm.merging import Reduction

# Of "accuracy", a search makes the cross entropy small, which a few hundred clips tell more exactly.
OBJECTIVES = ("divergence", "accuracy")

# A probability below this counts as this, so that none makes the divergence infinite.
LEAST = 1e-12


class Loss(NamedTuple):
    """What a reduction loses on some clips against the unmerged model, as means over the clips.

    Attributes:
        divergence: Kullback-Leibler divergence of its probabilities from the unmerged ones, summed over heads, nats.
        disagreement: Share of clips whose most likely class changes in some head.
        cross_entropy: Rise of the labels' negative log probability, summed over heads, nats; None without labels.
        accuracy_loss: Fall of the share of clips that are right in all heads; None without labels.
    """

    divergence: float
    disagreement: float
    cross_entropy: float | None = None
    accuracy_loss: float | None = None

    def searched(self, by: str) -> float:
        """Returns the number that a search makes small."""
        found = self.cross_entropy if by == "accuracy" else self.divergence
        assert found is not None
        return found

    def tolerated(self, by: str) -> float:
        """Returns the share of clips that is bounded where a tolerance is given."""
        found = self.accuracy_loss if by == "accuracy" else self.disagreement
        assert found is not None
        return found


def loss_of(
    unmerged: Mapping[str, Float[np.ndarray, "n _"]],
    merged: Mapping[str, Float[np.ndarray, "n _"]],
    labels: Mapping[str, np.ndarray],
    view_average: str,
) -> Loss:
    """Compares scores, of every head as `combine_heads` returns them.

    Args:
        unmerged: The unmerged model's.
        merged: The same clips'.
        labels: Of each head; empty without labels.
        view_average: The protocol's.
    """
    divergence, rise, place = 0.0, 0.0, {}
    for head, ours in merged.items():
        p, q = (
            np.maximum(as_probabilities(one.astype(np.float64), view_average), LEAST) for one in (unmerged[head], ours)
        )
        divergence += float(np.mean(np.sum(p * (np.log(p) - np.log(q)), axis=-1)))
        if labels:
            own = labels[head][:, None]
            ratio = np.log(np.take_along_axis(p, own, axis=-1) / np.take_along_axis(q, own, axis=-1))
            rise += float(np.mean(ratio))
        place[head] = predicted_classes(unmerged[head]), predicted_classes(ours)
    disagreement = float(np.mean(np.any([a != b for a, b in place.values()], axis=0)))
    if not labels:
        return Loss(divergence, disagreement)
    right = [np.all([found[number] == labels[head] for head, found in place.items()], axis=0) for number in (0, 1)]
    return Loss(divergence, disagreement, rise, float(np.mean(right[0]) - np.mean(right[1])))


class Clips:
    """Clips on which reductions are measured; what is measured is kept in a folder.

    Args:
        config: The command's.
        unmerged: The unmerged variant, with the backends that all take.
        source: The videos.
        protocol: How they become views.
        folder: Where passes are kept.
        fingerprint: What predictions depend on, apart from the reductions.
        processes: Those that share the videos.
    """

    def __init__(
        self,
        config: Config,
        unmerged: Variant,
        source: VideoSource,
        protocol: ClipProtocol,
        folder: AnyPath,
        fingerprint: Mapping[str, Any],
        processes: Processes,
    ):
        self._config, self._unmerged, self.source, self.protocol = config, unmerged, source, protocol
        self._folder, self._fingerprint, self._processes = folder, fingerprint, processes
        self._reference: dict[str, np.ndarray] | None = None
        self.losses: dict[Reduction, Loss] = {}
        if config.restart:
            set_aside(folder)

    def variant(self, reduction: Reduction) -> Variant:
        """Returns the model with a reduction."""
        return Variant(run_name(reduction), self._unmerged.model.clone(reduction=reduction), self._unmerged.params)

    def evaluate(self, reductions: Sequence[Reduction], what: str) -> tuple[list[Variant], Evaluation]:
        """Evaluates the unmerged model and reductions in one pass, or reads what an earlier start has left of it."""
        return self._pass([self._unmerged, *map(self.variant, reductions)], what)

    def measure(self, reductions: Sequence[Reduction], what: str) -> list[Loss]:
        """Returns what reductions lose; those that are known already are not measured again.

        Args:
            reductions: In any number.
            what: Why they are measured, for the line that says so.
        """
        asked = [effective(one) for one in reductions]
        new = [one for one in dict.fromkeys(asked) if one not in self.losses and one.mode != "none"]
        self.losses.update({one: Loss(0.0, 0.0, 0.0, 0.0) for one in asked if one.mode == "none"})
        if new:
            first = [] if self._reference else [self._unmerged]
            variants, evaluation = self._pass([*first, *map(self.variant, new)], what)
            scores = {
                one.name: combine_heads(evaluation.predictions[one.name].logits, self.protocol.view_average)
                for one in variants
            }
            self._reference = self._reference or scores[UNMERGED]
            known = {*evaluation.labels} == {*self._reference}
            if self._config.calibrate.by == "accuracy" and not known:
                raise UserError("config.calibrate.by is 'accuracy', but the videos have no labels; use 'divergence'.")
            labels = evaluation.labels if known else {}
            for one in new:
                found = loss_of(self._reference, scores[run_name(one)], labels, self.protocol.view_average)
                self.losses[one] = found
        return [self.losses[one] for one in asked]

    def _pass(self, variants: list[Variant], what: str) -> tuple[list[Variant], Evaluation]:
        names = [one.name for one in variants]
        folder = self._folder / hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
        print(f"{what}: {len(names)} runs on {len(self.source)} videos", file=sys.stderr)
        remove_leftovers(folder)
        runs = [dataclasses.asdict(one.model.reduction) for one in variants]
        with ResumeState(folder, {**self._fingerprint, "runs": runs}) as state:
            evaluation = run_pass(self._config, variants, self.source, self.protocol, state, self._processes)
        assert evaluation is not None
        check_readable(evaluation, self.source)
        return variants, evaluation
