"""Training: the network, its stages, and `fit`."""

import contextlib
import sys

import keras

from core.config import Found
from core.imaging.borders import balanced_weights
from core.imaging.draw import voc_palette
from core.support import backend, devices, processes
from core.support.errors import UserError, explained
from core.support.files import alone_in
from core.training import transfer
from core.training.checkpoint import SPLIT_FILE, finished, load_checkpoint, resumable, write_split
from core.training.figures import DataLoss, MeanIoU
from core.training.losses import SegmentationLoss
from core.training.optimizer import make_optimizer, set_frozen, stages
from core.training.run_folder import RunFolder
from nets.reach import geometry, unpadded
from nets.unet import UNet


def build(config, policy=None, pretrained=True) -> keras.Model:
    """Builds the network that the settings describe; it takes images of any possible size.

    Without a dtype policy, it computes with the one that Keras is set to. Unless `pretrained`, an
    encoder gets random weights. Raises a UserError if its weights are not there or do not fit.
    """
    backend.seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or before)
    pretrained = pretrained and config.encoder_weights != "none"
    try:
        return UNet(
            (None, None, config.channels),
            config.num_classes,
            config.filters,
            architecture=config.architecture,
            encoder=None if config.encoder == "none" else config.encoder,
            encoder_weights=config.encoder_weights if pretrained else None,
            normalization=config.normalization,
            upsampling=config.upsampling,
            dropout=config.dropout,
            l2=config.l2,
        )
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    finally:
        keras.config.set_dtype_policy(before)


def find_out(config, dataset, pixels, kept=None) -> Found:
    """Returns what the training data, with its pixels of each class `[K]`, and the machine say.

    `kept` is what a run that is resumed has found: its dtype policy and its palette stay.
    """
    voc = voc_palette()[: config.num_classes].tolist()
    return Found(
        masks=dataset.reading,
        palette=kept.palette if kept else dataset.palette or tuple(map(tuple, voc)),
        class_weights=balanced_weights(pixels) if config.class_weights == "balanced" else (),
        intensity=config.intensity or dataset.find_intensity(),
        policy=kept.policy if kept else devices.choose_policy(config.precision),
    )


def train(config, found, dataset, validation, folder, history=(), callbacks=()) -> list:
    """Trains a network on all devices there are; see `RunFolder` for what it writes.

    Args:
        config: a `Config`.
        found: its `Found`.
        dataset: the `Dataset` to train on.
        validation: the `Dataset` to choose the best epoch by.
        folder: the run's folder, a Path.
        history: the figures of the epochs so far, a dictionary each. With any, the run resumes from
            `folder / "last.keras"`.
        callbacks: more of Keras' callbacks.

    Returns:
        The figures of all epochs, a dictionary each.

    Raises:
        UserError: if weights to start from or an image are missing, the loss is not finite, memory
            runs out, or another process dies.
        KeyboardInterrupt: with a sentence on resuming.
        ValueError: if a data set was made for other settings, another network or other devices.
    """
    process = processes.process()
    run = RunFolder(folder, config, found, history, write=process[0] == 0)
    alone = alone_in(folder) if run.write else contextlib.nullcontext()
    if history and finished(history, config):
        with alone:
            run.write_history()
        return run.history
    # Progress is no result: neither that of a download nor that of the training.
    shown_aside = contextlib.redirect_stdout(sys.stderr)
    with resumable(folder), explained(config, found.policy), devices.spread(), shown_aside:
        counts = len(dataset.image_info), len(validation.image_info), len(history)
        processes.agree(config, found, *counts)
        model = build(config, found.policy, pretrained=not history)  # else last.keras has them
        if config.init_weights and not history:
            transfer.load(model, config)
        devices.synchronize(model)
        _check_made_for(dataset, model, config)
        _check_made_for(validation, model)
        for data in (dataset, validation):
            data.set_intensity(found.intensity or dataset.find_intensity())
        with alone:
            run.clear()
            if run.write and not (history and (folder / SPLIT_FILE).exists()):
                write_split(folder, dataset, validation)
            for first, last, frozen in stages(config):
                if len(run.history) > last or finished(run.history, config):
                    continue
                steps = (last - first) * len(dataset)
                prepare(model, config, steps, frozen, found.class_weights)
                if len(history) > first:
                    load_checkpoint(model, folder / "last.keras", len(history))
                dataset.begin_epoch(len(run.history))
                model.fit(
                    dataset,
                    validation_data=validation,
                    epochs=last,
                    initial_epoch=len(run.history),
                    callbacks=[backend.epochs_of(dataset), run, *callbacks],
                    shuffle=False,  # the data set draws its own order
                    verbose=0 if process[0] or not sys.stderr else 1 if sys.stderr.isatty() else 2,
                )
    return run.history


def prepare(model, config, steps, frozen=False, class_weights=()) -> None:
    """Makes a network ready for a stage of so many optimizer steps.

    Frozen layers keep their weights and batch statistics: the encoder, or with --init-weights all
    but the last layer. Without class weights, all are 1.
    """
    devices.fuse(model)
    if config.freeze_encoder:
        set_frozen(model, frozen, all_but_last=bool(config.init_weights))
    loss = SegmentationLoss(config.loss, class_weights)
    metrics = [MeanIoU(config.num_classes), DataLoss(config.loss)]
    model.compile(make_optimizer(config, model, steps), loss=loss, metrics=metrics)
    devices.build_figures(model, config.num_classes)


def _check_made_for(data, model, config=None):
    """Raises a ValueError if a data set was made for another network, other processes or devices.

    With the settings of a training, it is also one if they are others.
    """
    surroundings = geometry(model) if unpadded(model) else None
    wanted = {"surroundings": surroundings, "part": processes.process()}
    for name in ("border_weight", "ignored_as_background") if config else ():
        wanted[name] = getattr(config, name)
    if data.multiple % devices.replicas():
        wanted["multiple"] = devices.replicas()
    for name, value in wanted.items():
        if getattr(data, name) != value:
            raise ValueError(
                f"This training needs a data set made with {name}={value!r}, which its constructor "
                f"hands on to Dataset; it has {getattr(data, name)!r}."
            )
