"""Training: the loss, the optimizer and its schedule, and `fit`."""

import contextlib
import dataclasses
import sys

import keras
import numpy as np

from core import devices, processes
from core.callbacks import RunFolder
from core.checkpoint import finished, load_checkpoint
from core.config import IGNORE
from core.inference import load_model, predict
from core.losses import SegmentationLoss
from core.visualize import contact_sheet, voc_palette
from nets.unet import UNet


def build(config):
    """Builds the network that the settings describe; it takes pictures of any possible size."""
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.policy or before)
    try:
        return UNet(
            (None, None, config.channels),
            config.num_classes,
            config.filters,
            normalization=config.normalization,
            dropout=config.dropout,
            l2=config.l2,
        )
    finally:
        keras.config.set_dtype_policy(before)


def learning_rate(config, steps):
    """The schedule: up from the floor to the peak, and by a cosine down to it at the last step.

    Args:
        config: a `Config`.
        steps: optimizer steps of the whole training.
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


def complete(config, dataset, pixels):
    """Returns the settings with what data and machine say: masks, palette, weights, dtype policy.

    Args:
        config: a `Config`; a policy in it stays.
        dataset: the `Dataset` to train on.
        pixels: of each class in its masks, `[K]`.
    """
    palette = voc_palette()[: config.num_classes].tolist()
    return dataclasses.replace(
        config,
        masks=dataset.reading,
        palette=tuple(map(tuple, palette)),
        policy=config.policy or devices.choose_policy(config.precision),
        weights=balanced_weights(pixels) if config.class_weights == "balanced" else (),
    )


def balanced_weights(pixels):
    """Returns weights by which every class has the same part in the loss.

    Class i weighs `sum_j n_j / (K n_i)`, with `n_i` its pixels and K the number of classes that
    have any; those without weigh nothing. A pixel weighs 1 on average.

    Args:
        pixels: of each class in the training masks, `[K]`.
    """
    present = pixels > 0
    weights = pixels.sum() / (present.sum() * np.maximum(pixels, 1)) * present
    return tuple(weights.tolist())


def train(config, dataset, validation, folder, history=(), callbacks=()):
    """Trains a network on all devices there are; see `RunFolder` for what it writes.

    Args:
        config: a `Config`.
        dataset: the `Dataset` to train on.
        validation: the `Dataset` to choose the best epoch by.
        folder: the run's folder, a Path.
        history: the figures of the epochs after which `folder / "last.keras"` is to be continued,
            a dictionary each; none for a new network.
        callbacks: more of Keras' callbacks.

    Returns:
        The figures of all epochs, a dictionary each.

    Raises:
        UserError: if the loss is no number any more, memory runs out, or another process dies.
    """
    process = processes.process()
    dataset.class_weights, dataset.border_weight = config.weights or None, config.border_weight
    dataset.epoch = len(history)
    run = RunFolder(folder, config, history, write=process[0] == 0)
    if history and finished(history, config):
        return run.history
    with devices.explained(config), devices.spread():
        processes.agree(len(history), "different numbers of epochs behind them")
        for data in (dataset, validation):
            data.part, data.multiple = process, devices.replicas()
        model = compiled(config, steps=config.epochs * len(dataset))
        if history:
            load_checkpoint(model, folder / "last.keras")
        with contextlib.redirect_stdout(sys.stderr):  # progress is no result
            model.fit(
                dataset,
                validation_data=validation,
                epochs=config.epochs,
                initial_epoch=len(history),
                callbacks=[run, *callbacks],
                shuffle=False,  # the data set draws its own order
                verbose=0 if process[0] else 1 if sys.stderr.isatty() else 2,
            )
    return run.history


def compiled(config, steps):
    """Builds a network and makes it ready for training.

    Args:
        config: a `Config`.
        steps: optimizer steps of the whole training.
    """
    model = build(config)
    devices.synchronize(model)
    optimizer = keras.optimizers.Adam(learning_rate(config, steps))
    if config.policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # With its variables in place, TensorFlow traces the training step once and not twice.
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=SegmentationLoss(config.loss),
        metrics=[
            keras.metrics.MeanIoU(
                config.num_classes, ignore_class=IGNORE, sparse_y_pred=False, name="miou"
            )
        ],
    )
    return model


def draw_samples(path, weights, dataset, count=8):
    """Draws a sheet of pictures from all over a data set, with truth and prediction."""
    model, config = load_model(weights)
    size = len(dataset.image_info)
    indices = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
    images, masks = zip(*map(dataset.load, indices), strict=True)
    rows = []
    answers = predict(model, images, config, tile=config.tile, batch_size=1)
    for index, image, mask, answer in zip(indices, images, masks, answers, strict=True):
        rows.append((image, mask, answer.class_map(), str(dataset.name(index))))
    contact_sheet(path, rows, config.names, config.palette)
