"""Which layers learn, and how fast: frozen layers, the optimizer and its learning rate schedule."""

import dataclasses

import keras

from core.config import Config
from core.support.devices import quick_adam
from core.training.transfer import ALONE


def make_optimizer(config: Config, model: keras.Model, steps: int) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a training of so many steps; the model may have frozen layers."""
    if len(model.trainable_variables) <= 2:  # kernel and bias of the last layer
        config = dataclasses.replace(config, lr=ALONE * config.lr)
    kind, options = quick_adam(), {}
    if config.optimizer == "sgd":
        kind, options = keras.optimizers.SGD, {"momentum": 0.99}  # as in the U-Net paper
    if config.encoder_weights != "none":
        kind = _slowed(kind, config.encoder_lr_factor, model)
    optimizer = kind(learning_rate(config, steps), **options)
    if model.dtype_policy.name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Now, so that TensorFlow traces the training step once and not twice.
    optimizer.build(model.trainable_variables)
    return optimizer


def encoder_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of a U-Net's encoder, also of a model from a file."""
    names = [layer.name for layer in model.layers]  # sorted by their distance from the output
    return model.layers[: names.index("bottom_dropout")]


def set_frozen(model: keras.Model, frozen: bool, all_but_last: bool = False) -> None:
    """Freezes layers with their batch statistics, or not; compile the model afterwards.

    The layers are those of a U-Net's encoder, or all but its last layer.
    """
    for layer in model.layers[:-1] if all_but_last else encoder_layers(model):
        layer.trainable = not frozen


def stages(config: Config) -> list[tuple[int, int, bool]]:
    """Divides a training into the epochs with frozen layers, see `set_frozen`, and the others.

    Each stage has its own optimizer and its own learning rate schedule. So what was frozen begins
    to learn slowly, with a fresh Adam. A stage is: the epochs behind it when it begins and when it
    ends, and whether layers are frozen.
    """
    thaw = min(config.freeze_encoder, config.epochs)
    parts = (0, thaw, True), (thaw, config.epochs, False)
    return [part for part in parts if part[0] < part[1]]


def _slowed(kind, factor, model):
    """A kind of optimizer with a smaller learning rate for the encoder's variables.

    Smaller gradients would not do: Adam divides them by their own size.
    """
    pretrained = {id(v) for layer in encoder_layers(model) for v in layer.trainable_variables}
    factors = [factor if id(v) in pretrained else 1.0 for v in model.trainable_variables]

    class Slowed(kind):
        def update_step(self, gradient, variable, learning_rate):
            own = learning_rate * factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, own)

    return Slowed


def learning_rate(config: Config, steps: int) -> keras.optimizers.schedules.CosineDecay:
    """Makes the schedule: a warm-up from the floor, then a cosine down to it at the last step."""
    warmup = max(0, min(round(config.warmup * steps), steps - 2))  # the last step is the floor
    floor = min(config.lr_floor, config.lr)
    return keras.optimizers.schedules.CosineDecay(
        floor if warmup else config.lr,
        decay_steps=max(1, steps - 1 - warmup),  # steps count from 0
        alpha=floor / config.lr,
        warmup_target=config.lr if warmup else None,
        warmup_steps=warmup,
    )
