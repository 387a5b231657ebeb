"""Training: the network, its stages, and `fit`."""

import contextlib
import dataclasses
import sys

import keras
import numpy as np

from core.config import IGNORE
from core.imaging.draw import contact_sheet, voc_palette
from core.prediction.model_file import load_model
from core.prediction.predict import predict
from core.support import devices, processes
from core.support.errors import UserError
from core.support.files import alone_in
from core.training.checkpoint import finished, load_checkpoint
from core.training.losses import SegmentationLoss
from core.training.optimizer import make_optimizer, set_frozen
from core.training.run_folder import RunFolder
from nets.reach import geometry, unpadded
from nets.unet import UNet


def build(config, pretrained=True):
    """Builds the network that the settings describe; it takes pictures of any possible size.

    Args:
        config: a `Config`.
        pretrained: whether an encoder gets the weights that the settings name, or random ones.

    Raises:
        UserError: if these weights cannot be had.
    """
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.policy or before)
    try:
        return UNet(
            (None, None, config.channels),
            config.num_classes,
            config.filters,
            architecture=config.architecture,
            encoder=_or_none(config.encoder),
            encoder_weights=_or_none(config.encoder_weights) if pretrained else None,
            normalization=config.normalization,
            upsampling=config.upsampling,
            dropout=config.dropout,
            l2=config.l2,
        )
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    finally:
        keras.config.set_dtype_policy(before)


def _or_none(name):
    return None if name == "none" else name


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
        UserError: if the encoder's weights cannot be had, the loss is no number any more, memory
            runs out, or another process dies.
    """
    process = processes.process()
    dataset.class_weights, dataset.border_weight = config.weights or None, config.border_weight
    dataset.ignored_as_background = config.ignored_as_background
    run = RunFolder(folder, config, history, write=process[0] == 0)
    if history and finished(history, config):
        return run.history
    # By itself, the data set also counts what Keras reads of it before the first epoch.
    numbered = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(dataset, "epoch", epoch)
    )
    # Progress is no result: neither that of a download nor that of the training.
    shown_aside = contextlib.redirect_stdout(sys.stderr)
    with devices.explained(config), devices.spread(), shown_aside:
        counts = len(dataset.image_info), len(validation.image_info), len(history)
        processes.agree(config, *counts)
        model = build(config, pretrained=not history)  # else last.keras has the weights
        devices.synchronize(model)
        for data in (dataset, validation):
            data.part, data.multiple = process, devices.replicas()
            data.geometry = geometry(model) if unpadded(model) else None
        with alone_in(folder) if run.write else contextlib.nullcontext():
            for first, last, frozen in stages(config):
                if len(run.history) > last or finished(run.history, config):
                    continue
                prepare(model, config, (last - first) * len(dataset), frozen)
                if len(history) > first:
                    load_checkpoint(model, folder / "last.keras", len(history))
                dataset.epoch = len(run.history)
                model.fit(
                    dataset,
                    validation_data=validation,
                    epochs=last,
                    initial_epoch=len(run.history),
                    callbacks=[numbered, run, *callbacks],
                    shuffle=False,  # the data set draws its own order
                    verbose=0 if process[0] or not sys.stderr else 1 if sys.stderr.isatty() else 2,
                )
    return run.history


def stages(config):
    """Divides a training into the epochs with a frozen encoder and the others.

    Each of the two has its own optimizer and a learning rate that rises and falls. So the encoder
    begins to learn slowly, and Adam knows nothing of it that is not so.

    Returns:
        For each: the epochs behind it when it begins and when it ends, and whether it is frozen.
    """
    thaw = min(config.freeze_encoder, config.epochs)
    parts = (0, thaw, True), (thaw, config.epochs, False)
    return [part for part in parts if part[0] < part[1]]


def prepare(model, config, steps, frozen=False):
    """Makes a network ready for training, or for another stage of it.

    Args:
        model: a `keras.Model`.
        config: a `Config`.
        steps: optimizer steps of the stage.
        frozen: whether the encoder keeps its weights and batch statistics.
    """
    devices.fuse(model)
    if config.freeze_encoder:
        set_frozen(model, frozen)
    model.compile(
        make_optimizer(config, model, steps),
        loss=SegmentationLoss(config.loss),
        metrics=[
            keras.metrics.MeanIoU(
                config.num_classes, ignore_class=IGNORE, sparse_y_pred=False, name="miou"
            )
        ],
    )
    if keras.backend.backend() == "jax":
        # If loss and metrics are not built, `fit` reads batches to build them by, and then trains
        # on those that its workers had read ahead (Keras 3.15.1), so a continued run on others.
        answer, truth = np.zeros((1, 1, 1, config.num_classes)), np.zeros((1, 1, 1))
        model.compute_loss(y=truth, y_pred=answer)
        model.compute_metrics(None, truth, answer)
        model.reset_metrics()


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
