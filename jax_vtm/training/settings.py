"""How to train: every number of a recipe, checked once."""

import dataclasses

from jax_vtm.errors import UserError

SCHEDULES = ("cosine", "scenic", "videomae", "milestones")
OPTIMIZERS = ("adamw", "sgd")
DECAYED = ("kernels", "all")
MIXING = ("batch", "pair", "elem")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How long and how to train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Clips per step, over all devices of all processes.
        learning_rate: The peak, at the end of the warm-up.
        schedule: "cosine" to the final rate; "scenic" or "videomae", the same as those trainers count it; or
            "milestones", constant between them.
        warmup_steps: Steps of linear warm-up from 0; need not be whole.
        final_learning_rate: Where the cosine ends.
        milestones: (step, factor of the peak from there on), in ascending order.
        optimizer: "adamw", or "sgd" with momentum.
        momentum: Of SGD, and the first of AdamW's two.
        nesterov: Whether SGD looks ahead.
        b2: The second of AdamW's two.
        weight_decay: Times the learning rate (AdamW), or added to the gradient (SGD, as PyTorch does it).
        decayed: "kernels" alone, or "all" parameters.
        kernel_decay: Scenic's `explicit_weight_decay`: shrinks kernels after the update, times the learning rate.
        l2: Scenic's `l2_decay_factor`: half of it times the squares of all arrays of rank 2 and more joins the loss.
        layer_decay: Factor of the learning rate from one layer to the one below it.
        gradient_norm: Gradients are clipped to this global norm; 0 does not clip.
        clip_per_device: As in Scenic each device clips its own gradient, and all devices count the same in the mean.
            Otherwise the mean is over all clips that are not masked, and is clipped.
        label_smoothing: Share of the label spread over all classes.
        mixup: Parameter of the Beta distribution of mixup; 0 for none.
        cutmix: The same of cutmix; with both, either is drawn half of the time.
        mixing: timm's modes: one draw for the "batch", one for each "pair" of clips, or one for each clip ("elem").
        accumulate: Parts of a batch that go through the model one after the other, to save memory.
        ema: Decay of the average of the weights, which is then what is evaluated and kept; 0 for none.
        init_positions: How positions of `init_from` are fitted, as in `fitted_positions`.
        remat: Computes attention and activations again in the backward pass, to save memory.
        seed: Of initialisation, data and dropout.
        checkpoint_every: Steps between saved states.
        keep: How many of the newest states stay; the best one stays besides.
        log_every: Steps between log lines.
    """

    steps: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    warmup_steps: float = 0.0
    final_learning_rate: float = 0.0
    milestones: tuple[tuple[float, float], ...] = ()
    optimizer: str = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    b2: float = 0.999
    weight_decay: float = 0.0
    decayed: str = "kernels"
    kernel_decay: float = 0.0
    l2: float = 0.0
    layer_decay: float = 1.0
    gradient_norm: float = 0.0
    clip_per_device: bool = False
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixing: str = "batch"
    accumulate: int = 1
    ema: float = 0.0
    init_positions: str = "tile"
    remat: bool = False
    seed: int = 0
    checkpoint_every: int = 250
    keep: int = 2
    log_every: int = 25

    def __post_init__(self):
        known_words = {"schedule": SCHEDULES, "optimizer": OPTIMIZERS, "decayed": DECAYED, "mixing": MIXING}
        for name, known in known_words.items():
            if getattr(self, name) not in known:
                raise UserError(f"train.{name} is {getattr(self, name)!r}; known are {', '.join(known)}.")
        for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} is {getattr(self, name)}; expected a whole number of at least 1.")
        if self.schedule != "milestones" and not 0 <= self.warmup_steps < self.steps:
            raise UserError(
                f"train.warmup_steps is {self.warmup_steps:g} of train.steps {self.steps}; expected fewer than all."
            )

    def rows_per_device(self, devices: int) -> int:
        """Returns the clips of a step on one of so many devices.

        Raises:
            UserError: The batch does not divide over devices and parts.
        """
        parts = devices * self.accumulate
        if self.batch_size % parts:
            accumulated = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
            raise UserError(
                f"train.batch_size is {self.batch_size}; with {devices} devices{accumulated} it must be a multiple of "
                f"{parts}."
            )
        return self.batch_size // devices
