"""Facts to choose settings by: what the data is like, what a step takes here, and the network."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np

from core.config import IGNORE, Config, Found
from core.dataset import Dataset
from core.prediction.model_file import save_model
from core.support import devices
from core.support.errors import explained, whole
from core.support.threads import attempts
from core.training.fit import build, prepare
from nets.summary import summary

MOST = 200  # images that are looked at, from all over the data set
THIN = 16  # pixels; vessels, membranes and cracks are thinner, most objects of photographs are not


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What own data is like.

    Attributes:
        images, others: how many there are to train on, and to validate with.
        size: the median height and width in pixels.
        largest: the largest height and the largest width.
        grey: whether no image has colours.
        shares: the share of each class in the known pixels.
        thickness: the typical thickness of each class in pixels, 0 where it does not occur.
        top_bottom: how far the classes of the upper and the lower halves of images differ, in
            standard errors, of the class that differs most.
    """

    images: int
    others: int
    size: tuple[int, int]
    largest: tuple[int, int]
    grey: bool
    shares: tuple[float, ...]
    thickness: tuple[float, ...]
    top_bottom: float = 0.0

    @property
    def objects(self) -> list[int]:
        """The ids of the classes that occur, without the commonest."""
        commonest = max(range(len(self.shares)), key=self.shares.__getitem__)
        return [i for i, share in enumerate(self.shares) if share and i != commonest]

    @property
    def thinnest(self) -> float:
        """The thickness of the thinnest objects in pixels."""
        return min((self.thickness[i] for i in self.objects), default=math.inf)

    @property
    def thin(self) -> bool:
        """Whether thin structures are all there is, such as vessels or membranes."""
        return bool(self.objects) and all(self.thickness[i] < THIN for i in self.objects)

    @property
    def upright(self) -> bool:
        """Whether images have an up and a down: photographs, unless many images say otherwise."""
        if self.grey or self.thin:
            return self.images >= 20 and self.top_bottom > 10
        return self.images < 100 or self.top_bottom > 3


def fingerprint(dataset: Dataset, others: int) -> Fingerprint:
    """Measures a data set to train on; `others` is the number of validation images.

    Raises:
        UserError: if a pair cannot be used.
    """
    count = len(dataset.image_info)
    indices = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int)).tolist()

    def measure(index):
        def look():
            image, mask = dataset.load(index)
            grey = bool(image.shape[2] == 1 or not (image - image[..., :1]).any())
            return [grey, mask.shape, *measure_mask(mask, dataset.num_classes)]

        settings = dataset.num_classes, dataset.reading, dataset.by_colour, dataset.channels
        return dataset.remember("fingerprint", [dataset.image_info[index]], look, *settings)

    rows = list(whole(attempts(measure, indices, "Looking at the data", dataset.workers)))
    greys, shapes, pixels, sums, upper, lower = (list(column) for column in zip(*rows, strict=True))
    pixels, sums = np.sum(pixels, 0), np.sum(sums, 0)
    # The mean distance to the edge is a quarter of a strip's width, and the first pixel's is 1.
    thickness = np.maximum(1, 4 * (sums / np.maximum(pixels, 1) - 0.5)) * (pixels > 0)
    difference = np.subtract(upper, lower)
    error = difference.std(0) / np.sqrt(len(rows)) + 1e-6
    return Fingerprint(
        images=count,
        others=others,
        size=tuple(int(side) for side in np.median(shapes, 0)),
        largest=tuple(int(side) for side in np.max(shapes, 0)),
        grey=all(greys),
        shares=tuple((pixels / max(1, pixels.sum())).tolist()),
        thickness=tuple(thickness.tolist()),
        top_bottom=float(np.abs(difference.mean(0) / error).max()),
    )


def measure_mask(mask: np.ndarray, num_classes: int) -> Sequence[np.ndarray]:
    """Measures a mask, uint8 `[H, W]`, class by class.

    Returns:
        Four arrays `[num_classes]`: the pixels, the sum of their distances to the nearest pixel of
        another class, and the shares of the class in the upper and in the lower half.
    """
    pixels, sums = np.zeros(num_classes, np.int64), np.zeros(num_classes)
    for class_id in np.unique(mask[mask != IGNORE]).tolist():
        inside = (mask == class_id).astype(np.uint8)
        pixels[class_id] = np.count_nonzero(inside)
        distances = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        # Without any edge in the image, all of it is far inside.
        sums[class_id] = np.minimum(distances, max(mask.shape)).sum(dtype=np.float64)
    halves = np.array_split(mask, 2)
    counts = [np.bincount(half.ravel(), minlength=256)[:num_classes] for half in halves]
    upper, lower = (count / max(1, count.sum()) for count in counts)
    return pixels, sums, upper, lower


def shrinking(facts: Fingerprint, size: tuple[int, int]) -> float:
    """Returns how many times smaller images become on a canvas, at least 1."""
    return max(1.0, *(side / wanted for side, wanted in zip(facts.size, size, strict=True)))


def lost(facts: Fingerprint, config: Config) -> str:
    """Says how much images are shrunk, and what becomes of the thinnest objects."""
    times = shrinking(facts, config.size)
    if config.crop or times < 1.05:
        return "Images keep their resolution."
    told = f"Images are shrunk {times:.1f} times"
    if facts.objects:
        name = config.names[min(facts.objects, key=facts.thickness.__getitem__)]
        told += f"; the thinnest objects ({name}) become {facts.thinnest / times:.1f} pixels"
    return f"{told}."


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training takes on this machine, in seconds, measured with some settings."""

    sample: float  # a training sample, its preparation included
    pixels: int  # of such a sample
    start: float  # until the first step is done
    writing: float  # the files of an epoch


def measure(config: Config, opened, seconds: float = 6) -> Cost:
    """Trains for about so many seconds, and forgets it, to measure what training takes here."""
    begin = time.monotonic()
    dataset, _ = opened(dataclasses.replace(config, repeats=100 * config.batch_size))
    dataset.image_info = _soon_kept(dataset)
    stamps = []

    def after_step(batch, logs):
        stamps.append(time.monotonic())
        model.stop_training = len(stamps) > 6 and stamps[-1] - stamps[1] > seconds

    policy = devices.choose_policy(config.precision)
    with explained(config, policy), devices.spread():
        model = build(config, policy)
        devices.synchronize(model)
        prepare(model, config, steps=1000)
        clock = keras.callbacks.LambdaCallback(on_train_batch_end=after_step)
        try:
            model.fit(dataset, callbacks=[clock], shuffle=False, verbose=0)
        finally:  # Keras keeps a data set whose `fit` has been stopped
            if dataset.store:
                dataset.store.clear()
    with tempfile.TemporaryDirectory() as folder:
        written = time.monotonic()
        save_model(model, Path(folder, "last.keras"), config, Found(), optimizer=model.optimizer)
        written = 2 * (time.monotonic() - written)
    # The median: what else runs on the machine for a moment does not count.
    sample = float(np.median(np.diff(stamps[1:]))) / config.batch_size
    return Cost(sample, seen(config), 1.3 * (stamps[0] - begin), written)


def _soon_kept(dataset):
    """A few of the images, where a training keeps all large ones: it reads each of them once.

    So steps soon take as long as they do after the first epoch.
    """
    infos, room = dataset.image_info, dataset.store.memory if dataset.store else 0
    if dataset.crop and 4 * dataset.load(0)[1].size * len(infos) > room:
        return infos
    return infos[:: max(1, len(infos) // (2 * dataset.batch_size))]


def seen(config: Config) -> int:
    """Returns the pixels of a training sample."""
    return math.prod(config.crop or config.size)


def print_summary(config: Config) -> None:
    """Describes the network that the settings ask for, see `nets.summary`."""
    with explained(config):
        print(summary(build(config, pretrained=False), config.crop or config.size))
