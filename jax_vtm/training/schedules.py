"""Learning rates by the number of steps done before."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jax_vtm.training.settings import TrainingSettings


def learning_rate_schedule(settings: TrainingSettings) -> optax.Schedule:
    """Returns the learning rate as a function of the number of steps done before.

    - "cosine" as SlowFast and what derives from it: a ramp from 0, then half a cosine over what is left.
    - "scenic": `scenic_schedule` with one cycle.
    - "videomae": the ramp ends one step earlier (`cosine_scheduler` in VideoMAE's utils.py takes both of its ends in).
    - "milestones": factors of the peak, each from its step on.
    """
    peak, steps, warmup = settings.learning_rate, settings.steps, settings.warmup_steps
    if settings.schedule == "scenic":
        return scenic_schedule(peak, warmup, steps, alpha=settings.final_learning_rate / peak)
    if settings.schedule == "milestones":

        def constant(step):
            factor = jnp.ones(())
            for start, after in settings.milestones:
                factor = jnp.where(step >= start, after, factor)
            return peak * factor

        return constant
    ramp = warmup - 1 if settings.schedule == "videomae" else warmup

    def cosine(step):
        progress = (step - warmup) / (steps - warmup)
        half = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
        falling = settings.final_learning_rate + (peak - settings.final_learning_rate) * half
        return jnp.where(step < warmup, peak * step / max(ramp, 1), falling)

    return cosine


def scenic_schedule(
    peak: float,
    warmup: float,
    cycle: int,
    *,
    total: int | None = None,
    alpha: float = 0.0,
    warmup_alpha: float = 0.0,
) -> optax.Schedule:
    """Returns Scenic's "constant * cosine_decay * linear_warmup" (train_lib/lr_schedules.py).

    The cosine begins after the warm-up, takes the cycle less its share of the warm-up's whole steps, and begins anew
    at the peak.

    Args:
        peak: The learning rate after the warm-up.
        warmup: Steps of it, which need not be whole.
        cycle: Steps from one beginning to the next.
        total: Steps of all cycles; None for one cycle.
        alpha: Share of the peak at which a cosine ends.
        warmup_alpha: Share of it at which the warm-up begins.
    """
    length = cycle - int(warmup / ((total or cycle) / cycle))

    def schedule(step) -> Float[Array, ""]:
        ramp = jnp.minimum(1.0, warmup_alpha + step * (1 - warmup_alpha) / warmup) if warmup else 1.0
        progress = jnp.maximum(0.0, step - warmup) / length
        half = 0.5 * (1 + jnp.cos(jnp.pi * (progress % 1.0)))
        return peak * ramp * ((1 - alpha) * half + alpha)

    return schedule
