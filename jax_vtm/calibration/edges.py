"""How similar the tokens of every layer are: the scores of the edges that merging chooses among, without merging."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jax_vtm.calibration.cost import Joint
from jax_vtm.data import ClipProtocol, VideoSource, batches, spread_evenly
from jax_vtm.evaluation import Variant
from jax_vtm.evaluation.step import pixels
from jax_vtm.merging import TokenReduction, metric_from_keys, nearest_by_metric

CLIPS = 16  # first views of videos

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def edge_scores(joint: Joint, unmerged: Variant, source: VideoSource, protocol: ClipProtocol) -> list[list[float]]:
    """Returns the quantiles of each layer's scores: every source's cosine with the destination it resembles most."""
    model, merged = unmerged.model, joint.reduction

    @jax.jit
    def scores(params, frames):
        found: list[Any] = []

        def note(call, args, kwargs, context):
            if isinstance(context.module, TokenReduction) and context.method_name == "__call__":
                metric = metric_from_keys(args[1], merged.head_aggregation)
                found.append(nearest_by_metric(metric, class_token=context.module.class_token).score)
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            model.apply({"params": params}, pixels(frames, protocol.mean, protocol.std))
        # A factorised encoder's layers over time come after these.
        return found[: joint.layers]

    few = spread_evenly(source, min(CLIPS, len(source)))
    by_clip = []
    for batch in batches(few, protocol, 1):
        if batch.mask.all():
            by_clip.append(jax.device_get(scores(unmerged.params, batch.frames[:, 0])))
    by_layer = [np.concatenate([one.ravel() for one in layer]) for layer in zip(*by_clip, strict=True)]
    # The class token has no edge.
    return [np.quantile(one[np.isfinite(one)], QUANTILES).tolist() for one in by_layer]
