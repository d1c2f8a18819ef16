"""How many videos at a time a device's memory holds."""

import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_vtm.errors import UserError
from jax_vtm.evaluation.data_parallel import DataParallel
from jax_vtm.evaluation.step import create_eval_step
from jax_vtm.models import VideoClassifier
from jax_vtm.models.patch_embedding import folded

MOST = 64
"""Videos per device beyond which a larger batch is hardly faster."""

# What the runtime and fragmentation may take.
_USABLE = 0.9


def fitting_batch_size(
    model: VideoClassifier,
    params: Any,
    views_shape: tuple[int, ...],
    parallel: DataParallel,
    *,
    clips_at_once: int = 0,
    most: int = MOST,
) -> int:
    """Finds the largest power of two of videos per device whose step fits into a device's memory.

    The compiler says what a step takes; two small ones are compiled to see by how much each further video adds, and the
    one that is found to make sure.

    Args:
        model: The model of the evaluation that takes most: the unmerged one.
        params: Its parameters, or their shapes.
        views_shape: [views, T, H, W, 3] of one video.
        parallel: The devices.
        clips_at_once: As for `create_eval_step`.
        most: No more than this.

    Raises:
        UserError: Not even one video fits, or nothing says what there is and what is needed.
    """
    step = parallel.compiled(create_eval_step(model, clips_at_once=clips_at_once))
    devices = len(parallel.devices)

    def bytes_needed(count: int) -> int:
        lead = (devices, count) if parallel.backend == "pmap" else (devices * count,)
        copies = (devices,) if parallel.backend == "pmap" else ()
        shapes = (
            jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*copies, *leaf.shape), leaf.dtype), params),
            jax.ShapeDtypeStruct((*lead, *folded(views_shape)), jnp.float32),
            jax.ShapeDtypeStruct(lead, jnp.int32),
        )
        memory = step.jitted.lower(*shapes).compile().memory_analysis()
        if memory is None:
            raise _unknown("a step needs")
        # The next batches wait on the device meanwhile, at most as float32 frames.
        waiting = parallel.steps_in_flight * 4 * count * math.prod(views_shape)
        return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes + waiting

    return largest_by_estimate(bytes_needed, int(_USABLE * memory_limit(parallel)), most)


def memory_limit(parallel: DataParallel) -> int:
    """Returns the bytes that a device has for us.

    Raises:
        UserError: Nothing tells.
    """
    device = parallel.devices[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    if device.platform == "cpu" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(parallel.devices)
    raise _unknown(f"{device.device_kind} has")


def largest_by_estimate(bytes_needed: Callable[[int], int], limit: int, most: int) -> int:
    """Finds the largest power of two for which `bytes_needed`, which grows about linearly, is within the limit.

    Raises:
        UserError: That of 1 is not.
    """
    one = bytes_needed(1)
    if one > limit:
        raise UserError(
            f"not even one video at a time fits into a device's memory: {one / 2**30:.1f} GiB are needed, "
            f"{limit / 2**30:.1f} GiB are there. Take fewer views per video."
        )
    per_video = max(bytes_needed(2) - one, 1)
    size = 1 << (min(most, (limit - one) // per_video + 1).bit_length() - 1)
    while size > 1 and bytes_needed(size) > limit:
        size //= 2
    return size


def _unknown(what: str) -> UserError:
    return UserError(f"JAX does not say how much memory {what}; give --config.data.batch_size, videos per device.")
