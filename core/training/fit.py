"""Training: the network, its stages, and `fit`."""

import contextlib
import sys

import keras
import numpy as np

from core.config import IGNORE, Found
from core.imaging.draw import contact_sheet, voc_palette
from core.prediction.model_file import load_model
from core.prediction.predict import predict
from core.support import backend, devices, processes
from core.support.errors import UserError
from core.support.files import alone_in
from core.training.checkpoint import finished, load_checkpoint
from core.training.losses import SegmentationLoss
from core.training.optimizer import make_optimizer, set_frozen
from core.training.run_folder import RunFolder
from nets.reach import geometry, unpadded
from nets.unet import UNet


def build(config, policy=None, pretrained=True):
    """Builds the network that the settings describe; it takes images of any possible size.

    Args:
        config: a `Config`.
        policy: the Keras dtype policy to compute with; None: the one that Keras is set to.
        pretrained: whether an encoder gets the weights that the settings name, or random ones.

    Raises:
        UserError: if these weights cannot be had.
    """
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or before)
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


def find_out(config, dataset, pixels, policy=None):
    """Returns what data and machine say: a `Found`.

    Args:
        config: a `Config`.
        dataset: the `Dataset` to train on.
        pixels: of each class in its masks, `[K]`.
        policy: a Keras dtype policy; None: the one that suits the machine.
    """
    return Found(
        masks=dataset.reading,
        palette=tuple(map(tuple, voc_palette()[: config.num_classes].tolist())),
        class_weights=balanced_weights(pixels) if config.class_weights == "balanced" else (),
        policy=policy or devices.choose_policy(config.precision),
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


class Epochs(keras.callbacks.Callback):
    """Tells a data set which epoch begins, and keeps glibc's settings.

    By itself, the data set also counts what Keras reads of it before the first epoch. TensorFlow
    changes glibc's settings when it begins to read a data set.

    Args:
        dataset: the `Dataset` to train on.
    """

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        """Keras calls this before the epoch's first batch."""
        self.dataset.begin_epoch(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        """Keras calls this before each step; setting them takes microseconds."""
        backend.keep_memory()


def train(config, found, dataset, validation, folder, history=(), callbacks=()):
    """Trains a network on all devices there are; see `RunFolder` for what it writes.

    Args:
        config: a `Config`.
        found: its `Found`.
        dataset: the `Dataset` to train on.
        validation: the `Dataset` to choose the best epoch by.
        folder: the run's folder, a Path.
        history: the figures of the epochs after which `folder / "last.keras"` is to be resumed, a
            dictionary each; none for a new network.
        callbacks: more of Keras' callbacks.

    Returns:
        The figures of all epochs, a dictionary each.

    Raises:
        UserError: if the encoder's weights cannot be had, the loss is no number any more, memory
            runs out, or another process dies.
        ValueError: if a data set was made for other settings, another network or other devices.
    """
    process = processes.process()
    run = RunFolder(folder, config, found, history, write=process[0] == 0)
    if history and finished(history, config):
        return run.history
    # Progress is no result: neither that of a download nor that of the training.
    shown_aside = contextlib.redirect_stdout(sys.stderr)
    with devices.explained(config, found.policy), devices.spread(), shown_aside:
        counts = len(dataset.image_info), len(validation.image_info), len(history)
        processes.agree(config, found, *counts)
        model = build(config, found.policy, pretrained=not history)  # else last.keras has them
        devices.synchronize(model)
        for data in (dataset, validation):
            _check_made_for(data, model, config if data is dataset else None)
        with alone_in(folder) if run.write else contextlib.nullcontext():
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
                    callbacks=[Epochs(dataset), run, *callbacks],
                    shuffle=False,  # the data set draws its own order
                    verbose=0 if process[0] or not sys.stderr else 1 if sys.stderr.isatty() else 2,
                )
    return run.history


def _check_made_for(data, model, config=None):
    """Makes sure that a data set's constructor was told what this training needs.

    Args:
        data: the `Dataset`.
        model: the network.
        config: the `Config`, for the data set to train on.
    """
    wanted = {
        "surroundings": geometry(model) if unpadded(model) else None,
        "part": processes.process(),
    }
    if config:
        names = ("border_weight", "ignored_as_background")
        wanted |= {name: getattr(config, name) for name in names}
    if data.multiple % devices.replicas():
        wanted["multiple"] = devices.replicas()
    for name, value in wanted.items():
        if getattr(data, name) != value:
            raise ValueError(
                f"This training needs a data set made with {name}={value!r}, which its constructor "
                f"hands on to Dataset; it has {getattr(data, name)!r}."
            )


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


def prepare(model, config, steps, frozen=False, class_weights=()):
    """Makes a network ready for training, or for another stage of it.

    Args:
        model: a `keras.Model`.
        config: a `Config`.
        steps: optimizer steps of the stage.
        frozen: whether the encoder keeps its weights and batch statistics.
        class_weights: each class's weight in the loss; empty: all are 1.
    """
    devices.fuse(model)
    if config.freeze_encoder:
        set_frozen(model, frozen)
    model.compile(
        make_optimizer(config, model, steps),
        loss=SegmentationLoss(config.loss, class_weights),
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
    model, config, found = load_model(weights)
    size = len(dataset.image_info)
    indices = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
    images, masks = zip(*map(dataset.load, indices), strict=True)
    rows = []
    answers = predict(model, images, config, tile=config.tile, batch_size=1)
    for index, image, mask, answer in zip(indices, images, masks, answers, strict=True):
        rows.append((image, mask, answer.class_map(), str(dataset.name(index))))
    contact_sheet(path, rows, config.names, found.palette)
