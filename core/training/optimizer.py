"""What learns, and how fast: frozen layers, the optimizer and its learning rate."""

import keras


def make_optimizer(config, model, steps):
    """Makes the optimizer of a training, with its variables in place.

    Args:
        config: a `Config`.
        model: the network, of which some layers may be frozen.
        steps: how many steps the learning rate is spread over.
    """
    kind, options = keras.optimizers.Adam, {}
    if config.optimizer == "sgd":
        kind, options = keras.optimizers.SGD, {"momentum": 0.99}  # as in the U-Net paper
    if config.encoder_weights != "none":
        kind = _slowed(kind, config.encoder_lr_factor, model)
    optimizer = kind(learning_rate(config, steps), **options)
    if model.dtype_policy.name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # With its variables in place, TensorFlow traces the training step once and not twice.
    optimizer.build(model.trainable_variables)
    return optimizer


def encoder_layers(model):
    """Returns the layers of a U-Net's way down, also of a model that was loaded from a file.

    Keras lists layers by how far they are from the output, so these are the ones that come before
    the bottom's dropout.
    """
    names = [layer.name for layer in model.layers]
    return model.layers[: names.index("bottom_dropout")]


def set_frozen(model, frozen):
    """Freezes a U-Net's way down, batch statistics included, or lets it learn again.

    As Keras has it, a model that is compiled has to be compiled again for it to take effect.
    """
    for layer in encoder_layers(model):
        layer.trainable = not frozen


def _slowed(kind, factor, model):
    """A kind of optimizer that takes a model's pretrained variables along more slowly.

    To scale their gradients would not do: Adam divides them by their own size.
    """
    pretrained = {id(v) for layer in encoder_layers(model) for v in layer.trainable_variables}
    factors = [factor if id(v) in pretrained else 1.0 for v in model.trainable_variables]

    class Slowed(kind):
        def update_step(self, gradient, variable, learning_rate):
            own = learning_rate * factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, own)

    return Slowed


def learning_rate(config, steps):
    """The schedule: up from the floor to the peak, and by a cosine down to it at the last step.

    Args:
        config: a `Config`.
        steps: optimizer steps that it is spread over.
    """
    warmup = max(0, min(round(config.warmup * steps), steps - 2))  # the last step is the floor
    floor = min(config.lr_floor, config.lr)
    return keras.optimizers.schedules.CosineDecay(
        floor if warmup else config.lr,
        decay_steps=max(1, steps - 1 - warmup),  # steps count from 0
        alpha=floor / config.lr,
        warmup_target=config.lr if warmup else None,
        warmup_steps=warmup,
    )
