"""One training step on every device, under `jax.pmap` or `jax.shard_map`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from jax_vtm.data.spatial import HALF, RGB, normalise
from jax_vtm.errors import UserError
from jax_vtm.evaluation import by_head, head_names
from jax_vtm.evaluation.data_parallel import AXIS, BACKENDS
from jax_vtm.models import VideoClassifier
from jax_vtm.training.losses import classification_loss, one_hot, squares
from jax_vtm.training.mixing import mix, weights_of_clips
from jax_vtm.training.optimizer import create_optimizer, shrink_kernels
from jax_vtm.training.schedules import learning_rate_schedule
from jax_vtm.training.settings import TrainingSettings


@struct.dataclass
class TrainState:
    """Everything that a continued run needs.

    Attributes:
        step: Steps done.
        params: The model's parameters.
        opt_state: The optimizer's state.
        ema: The average of the parameters, or None.
    """

    step: Any
    params: Any
    opt_state: optax.OptState
    ema: Any = None

    @property
    def result(self) -> Any:
        """The weights that are evaluated and kept: the average, where there is one."""
        return self.params if self.ema is None else self.ema


def create_state(params: Any, settings: TrainingSettings) -> TrainState:
    """Begins with these parameters."""
    opt_state = create_optimizer(settings).init(params)
    # Two copies, since the step reuses the memory of both.
    ema = jax.tree.map(jnp.copy, params) if settings.ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, ema)


def step_key(seed: int, step: Any, device: Any) -> PRNGKeyArray:
    """Returns the random key of a step on one of all devices."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), device)


def create_device_step(
    model: VideoClassifier, settings: TrainingSettings, mean: RGB = HALF, std: RGB = HALF
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Returns the step of one device.

    It maps (state, video [B, T, H, W, 3], labels {head: [B]}, mask [B], stop [B]) to (state, metrics). Frames that are
    uint8 are normalised here. Metrics are averages over all devices: "loss" and "gradient_norm", before clipping, and
    per head "<head>/accuracy", of mixed clips that of the target's largest class; and "stop": any process was told to.
    """
    optimizer, schedule = create_optimizer(settings), learning_rate_schedule(settings)

    def loss_and_correct(params, video, targets, mask, key):
        rngs = {"dropout": key, "reduction": jax.random.fold_in(key, 1)}
        logits = by_head(model.apply({"params": params}, video, train=True, rngs=rngs))
        loss = classification_loss(logits, targets, mask, settings.label_smoothing)
        if settings.l2:
            loss += 0.5 * settings.l2 * squares(params)
        hits = {head: jnp.argmax(logits[head], -1) == jnp.argmax(targets[head], -1) for head in logits}
        return loss, {head: jnp.sum(hit * mask) for head, hit in hits.items()}

    if settings.remat:
        # Of the products only those of tokens with weights are kept: no attention matrix, no activation.
        saveable = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        loss_and_correct = jax.checkpoint(loss_and_correct, policy=saveable)
    differentiate = jax.value_and_grad(loss_and_correct, has_aux=True)
    heads = head_names(model)

    def part_of_batch(params, video, labels, mask, key):
        """Gradient, loss and correct predictions of clips that go through the model at once."""
        if video.dtype == jnp.uint8:
            video = normalise(video, mean, std)
        targets = one_hot(labels, heads)
        if settings.mixup or settings.cutmix:
            key, mixing = jax.random.split(key)
            count, _, height, width, _ = video.shape
            weights = weights_of_clips(settings.mixing, mixing, count, height, width, settings.mixup, settings.cutmix)
            video, targets = mix(video, targets, weights)
        (loss, correct), gradient = differentiate(params, video, targets, mask, key)
        return gradient, loss, correct

    def step(state: TrainState, video, labels, mask, stop):
        key = step_key(settings.seed, state.step, jax.lax.axis_index(AXIS))
        count = jnp.sum(mask)
        if settings.accumulate == 1:
            gradient, loss, correct = part_of_batch(state.params, video, labels, mask, key)
        else:
            gradient, loss, correct = _accumulated(
                functools.partial(part_of_batch, state.params), (video, labels, mask), key, settings.accumulate
            )
        if settings.clip_per_device:
            norm = optax.tree.norm(gradient)
            if settings.gradient_norm:
                gradient, _ = optax.clip_by_global_norm(settings.gradient_norm).update(gradient, optax.EmptyState())
            gradient, loss, norm = jax.lax.pmean((gradient, loss, norm), AXIS)
        else:
            share = count / jnp.maximum(jax.lax.psum(count, AXIS), 1)
            gradient, loss = jax.lax.psum(jax.tree.map(lambda leaf: leaf * share, (gradient, loss)), AXIS)
            norm = optax.tree.norm(gradient)
        correct, count, stop = jax.lax.psum((correct, count, jnp.any(stop)), AXIS)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if settings.kernel_decay:
            params = shrink_kernels(params, schedule(state.step) * settings.kernel_decay)
        ema = state.ema if state.ema is None else optax.incremental_update(params, state.ema, 1 - settings.ema)
        accuracy = {f"{head}/accuracy": hits / jnp.maximum(count, 1) for head, hits in correct.items()}
        metrics = {"loss": loss, "gradient_norm": norm, "stop": stop > 0, **accuracy}
        return TrainState(state.step + 1, params, opt_state, ema), metrics

    return step


def _accumulated(part: Callable[..., Any], batch: Any, key: PRNGKeyArray, parts: int) -> Any:
    """As one call of `part` on the whole batch, with one part of it in memory at a time."""
    cut = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), batch)
    whole = jnp.maximum(jnp.sum(batch[-1]), 1)

    def add(total, indexed):
        index, (video, labels, mask) = indexed
        gradient, loss, correct = part(video, labels, mask, jax.random.fold_in(key, index))
        share = jnp.sum(mask) / whole
        weighted = jax.tree.map(lambda leaf: leaf * share, (gradient, loss))
        return jax.tree.map(jnp.add, total, (*weighted, correct)), None

    shapes = jax.eval_shape(part, *jax.tree.map(lambda leaf: leaf[0], cut), key)
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, empty, (jnp.arange(parts), cut))[0]


class DevicesStep:
    """The step on all devices of all processes.

    Args:
        step: That of one device.
        backend: "pmap" or "shard_map".
        devices: Other devices than all that there are.
    """

    def __init__(self, step: Callable[..., Any], backend: str = "pmap", devices: Sequence[Any] | None = None):
        if backend not in BACKENDS:
            raise UserError(f"backend is {backend!r}; known are {', '.join(BACKENDS)}.")
        self._pmapped = backend == "pmap"
        self._mesh = Mesh(np.array(devices or jax.devices()), (AXIS,))
        self._here = NamedSharding(Mesh(self._mesh.local_devices, (AXIS,)), PartitionSpec(AXIS))
        if self._pmapped:
            self._program = jax.pmap(step, axis_name=AXIS, donate_argnums=0, devices=devices)
            return
        cut, whole = PartitionSpec(AXIS), PartitionSpec()
        spread = jax.shard_map(
            step, mesh=self._mesh, in_specs=(whole, cut, cut, cut, cut), out_specs=(whole, whole), check_vma=False
        )
        self._program = jax.jit(spread, donate_argnums=0)

    def replicate(self, state: TrainState) -> TrainState:
        """Puts a copy of the state on each device."""
        if self._pmapped:
            # As the step returns it; otherwise its second call would be traced again.
            count = self._here.num_devices
            copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), state)
            return jax.device_put(copies, self._here)
        # Copies, since the step reuses their memory.
        return jax.device_put(state, NamedSharding(self._mesh, PartitionSpec()), may_alias=False)

    def one_of(self, tree: Any) -> Any:
        """Returns one of the copies of a state or of metrics."""
        if not self._pmapped:
            return tree
        return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data.reshape(leaf.shape[1:]), tree)

    def shard(self, batch: Any) -> Any:
        """Gives each device of this process its part of this process's rows."""
        if not self._pmapped:
            rows = NamedSharding(self._mesh, PartitionSpec(AXIS))
            return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(rows, leaf), batch)
        cut = jax.tree.map(lambda leaf: leaf.reshape(self._here.num_devices, -1, *leaf.shape[1:]), batch)
        return jax.device_put(cut, self._here)

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        """Runs it; the state that is given is gone."""
        return self._program(state, *batch)
