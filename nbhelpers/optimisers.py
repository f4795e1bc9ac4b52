"""How a network is trained: schedule, loss, optimiser."""

from dataclasses import dataclass

import keras

from nbhelpers.workspace import InputError

OPTIMISERS = ("adamw", "adam", "sam")
LOSSES = {"age": ("l1", "huber"), "stage": ("cross-entropy", "balanced cross-entropy")}
HUBER_MONTHS = 12.0  # errors below count squared: a year, to which most labels are rounded


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        batch_size: radiographs a step.
        learning_rate: peak of the rate; linear warm-up, then cosine decay to zero.
        weight_decay: decoupled decay of AdamW, and of SAM over it.
        warmup_share: share of all steps spent warming up.
        patience: epochs without a better tuning loss before training stops.
        seed: of the batch order; with the epoch it fixes every batch.
        loss: l1 or huber (months) for age; cross-entropy for stage, or balanced, where the cases
            of a rare stage count more (`batches.class_weights`); empty: the first of the task.
        optimiser: adamw, adam, or sam (sharpness-aware minimisation over AdamW).
        averaging: momentum of the moving average of the weights over steps, which is what is
            evaluated and kept; 0 keeps the weights themselves.
        sam_rho: radius of SAM's perturbation.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_share: float = 0.05
    patience: int = 10
    seed: int = 0
    loss: str = ""
    optimiser: str = "adamw"
    averaging: float = 0.0
    sam_rho: float = 0.05


def check_schedule(schedule: Schedule, task: str) -> None:
    """Raise InputError for a loss that is not of the task, an unknown optimiser, or no training."""
    for name in ("epochs", "batch_size", "learning_rate"):
        if not getattr(schedule, name) > 0:
            raise InputError(f"{name} is {getattr(schedule, name)}; write more than 0.")
    if schedule.loss not in ("", *LOSSES[task]):
        allowed = " or ".join(LOSSES[task])
        raise InputError(f"loss {schedule.loss!r}: write {allowed} for task {task}.")
    if schedule.optimiser not in OPTIMISERS:
        raise InputError(f"optimiser {schedule.optimiser!r}: write {', '.join(OPTIMISERS)}.")


def compile_model(model: keras.Model, task: str, schedule: Schedule, steps: int) -> None:
    """Give a model its loss and optimiser, with warm-up and cosine decay over `steps`."""
    check_schedule(schedule, task)
    warmup = max(1, round(schedule.warmup_share * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=schedule.learning_rate,
        warmup_steps=warmup,
    )
    # Not Keras's default, "auto", which compiles with XLA: XLA has no kernel for the augmentation's
    # warp (ImageProjectiveTransformV3), so a step with it would not compile at all. Without the
    # warp, XLA made a step of the custom CNN twice as slow on 4 CPU cores.
    model.compile(_optimiser(schedule, rate), _loss(task, schedule.loss), jit_compile=False)


def _loss(task: str, name: str):
    if task == "stage":
        return "sparse_categorical_crossentropy"
    return keras.losses.Huber(delta=HUBER_MONTHS) if name == "huber" else "mean_absolute_error"


def _optimiser(schedule: Schedule, rate) -> keras.optimizers.Optimizer:
    averaging = {}
    if schedule.averaging:
        averaging = {"use_ema": True, "ema_momentum": schedule.averaging}
    if schedule.optimiser == "adam":
        return keras.optimizers.Adam(rate, **averaging)
    return keras.optimizers.AdamW(rate, weight_decay=schedule.weight_decay, **averaging)
