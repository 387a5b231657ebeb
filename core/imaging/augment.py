"""What training draws at random: the order of images, and changes of an image with its mask.

Every change takes `(image, mask, rng)`: uint8 `[H, W, C]`, uint8 or uint16 `[H, W]` and a
`np.random.Generator`. It returns a changed pair of the same types; the arguments stay as they are.
Both move alike: the image is interpolated, the mask takes the nearest value, and is 255 where a
pixel comes from outside the image.
"""

from functools import partial
from math import ceil

import cv2
import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from core.config import IGNORE
from core.imaging.elastic import Crop, Pair, deform, elastic_transform
from core.imaging.letterbox import PADDING, shrink


def order(images: int, repeats: float, epoch: int, seed: int | None) -> Array:
    """Returns the numbers of an epoch's samples, integers; `number % images` is the image.

    Epochs take parts of passes over all images, each drawn anew; without a seed, none is drawn.
    """
    count = max(bool(images), round(images * repeats))
    size = max(1, images * ceil(repeats))  # of a pass, which visits an image so many times
    first, start = divmod(epoch * count, size)
    passes = np.tile(np.arange(size), (-(-(start + count) // size), 1))
    for number, numbers in enumerate(passes if seed is not None else (), first):
        np.random.default_rng((seed, number)).shuffle(numbers)
    passes += size * np.arange(len(passes))[:, None]  # so that no number comes twice in an epoch
    return passes.flat[start : start + count]


def photograph(image: Array, mask: Array, rng: Generator, size: tuple | None = None) -> Pair:
    """For photographs, the reference's changes for VOC: each with probability 1/2.

    With the `size = (height, width)` of the canvas, all but the first change a shrunk image.
    """
    if rng.random() < 0.5:
        image, mask = trim(image, mask, rng)
    if size:
        image, mask = shrink(image, mask, size)
    for change in (flip, translate, sharpness):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return colours(image, mask, rng)


def reference(image: Array, mask: Array, rng: Generator, size: tuple | None = None) -> Pair:
    """The reference's augmentation itself: with probability 0.4 at all, then each with 1/2.

    It changes images in this order, at their own resolution unless they are `LARGE`; the `size` of
    the canvas plays no part.
    """
    if rng.random() >= 0.4:
        return image, mask
    if rng.random() < 0.5:
        image, mask = flip(image, mask, rng)
    image, mask = colours(image, mask, rng)
    for change in (partial(sharpness, low=-0.5), trim, translate):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return image, mask


def turned(image: Array, mask: Array, rng: Generator, size: tuple | None = None) -> Pair:
    """For colour images without an up and down: any orientation, and colours."""
    image, mask = orient(*shrink(image, mask, size) if size else (image, mask), rng, size)
    for change in (translate, sharpness):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return colours(image, mask, rng)


def microscopy(image: Array, mask: Array, rng: Generator, size: tuple | None = None) -> Pair:
    """For slices without an up and down: any orientation, each other change half the time.

    `Dataset` adds `elastic` afterwards, as it knows which crop of the result it needs.
    """
    image, mask = orient(*shrink(image, mask, size) if size else (image, mask), rng, size)
    for change in (trim, translate, intensity):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return image, mask


def paper(image: Array, mask: Array, rng: Generator, size: tuple | None = None) -> Pair:
    """The U-Net paper's: rotations, elastic deformations, grey values; crops are its shifts."""
    image, mask = deform(*orient(image, mask, rng), rng)
    return intensity(image, mask, rng) if rng.random() < 0.5 else (image, mask)


def orient(image: Array, mask: Array, rng: Generator, size: tuple = (1, 1)) -> Pair:
    """Takes one of the eight orientations of a square, all equally likely.

    For a canvas of `size` that is half as long again as wide, or more, it is one of the four of a
    rectangle: on its side, an image would become small to fit in.
    """
    long = size and max(size) >= 1.5 * min(size)
    image, mask = quarter_turn(image, mask, rng, step=2 if long else 1)
    return flip(image, mask, rng) if rng.random() < 0.5 else (image, mask)


def flip(image: Array, mask: Array, rng: Generator) -> Pair:
    """Exchanges left and right; nothing is random."""
    return cv2.flip(image, 1).reshape(image.shape), cv2.flip(mask, 1)


def quarter_turn(image: Array, mask: Array, rng: Generator, step: int = 1) -> Pair:
    """Rotates by 0, 90, 180 or 270 degrees; with a step of 2, by 0 or 180."""
    turns = int(rng.integers(4)) * step % 4  # anticlockwise; OpenCV's codes count clockwise
    if not turns:
        return image, mask
    turned, ids = cv2.rotate(image, 3 - turns), cv2.rotate(mask, 3 - turns)
    return turned.reshape(*ids.shape, image.shape[2]), ids


def trim(image: Array, mask: Array, rng: Generator, share: float = 0.1) -> Pair:
    """Cuts off up to `share` of the height at top and bottom and of the width at both sides."""
    height, width = mask.shape
    top, bottom = rng.integers(0, int(height * share) + 1, 2)
    left, right = rng.integers(0, int(width * share) + 1, 2)
    kept = slice(top, height - bottom), slice(left, width - right)
    return image[kept], mask[kept]


def scaled(size: tuple[int, int], rng: Generator, limit: float) -> tuple[int, int]:
    """Draws how much to show at `size`: its sides times one factor, from 1 / limit to limit."""
    factor = limit ** rng.uniform(-1, 1)
    return tuple(max(1, round(side * factor)) for side in size)


def translate(image: Array, mask: Array, rng: Generator, share: float = 0.1) -> Pair:
    """Moves by whole pixels, up to `share` of a side; uncovered pixels are grey and 255."""
    old, new = [], []
    for side in mask.shape:
        limit = int(side * share)
        shift = int(rng.integers(-limit, limit + 1))
        old.append(slice(max(0, -shift), side - max(0, shift)))
        new.append(slice(max(0, shift), side - max(0, -shift)))
    moved, ids = np.full_like(image, PADDING), np.full_like(mask, IGNORE)
    moved[tuple(new)], ids[tuple(new)] = image[tuple(old)], mask[tuple(old)]
    return moved, ids


def colours(image, mask, rng, hue=0.1, saturation=1.5, value=1.5, brightness=0.3) -> Pair:
    """Jitters the colours, and changes the brightness, each with probability 1/2.

    The first shifts the hue by up to `hue` of the colour circle, and multiplies saturation and
    value by factors from `1 / saturation` to `saturation` and `1 / value` to `value`. The second
    adds up to `brightness` of the full range to the value, which is the largest of red, green and
    blue. A grey image only has a value.
    """
    change = {}
    if rng.random() < 0.5:
        change["shift"] = round(rng.uniform(-hue, hue) * 256)
        change |= {"saturation": _factor(rng, saturation), "value": _factor(rng, value)}
    if rng.random() < 0.5:
        change["brighter"] = rng.uniform(-brightness, brightness) * 255
    # Once through HSV for both, as that takes longer than everything else here.
    return _through_hsv(image, **change) if change else image, mask


def sharpness(image: Array, mask: Array, rng: Generator, limit=3.0, low=0.0) -> Pair:
    """Blurs or sharpens: a mix of smoothed (0), unchanged (1) and sharpened (up to `limit`).

    The factor is drawn from `low` on. A negative one takes more away than smoothing does.
    """
    factor = rng.uniform(low, limit)
    # As Pillow smooths: the mean of 3x3 pixels, with the middle one counted five times.
    others = (1 - factor) * 9 / 13
    mean = cv2.blur(image, (3, 3))
    cv2.addWeighted(image, 1 - others, mean, others, 0, mean)
    return mean.reshape(image.shape), mask


def intensity(image: Array, mask: Array, rng: Generator, contrast: float = 1.3) -> Pair:
    """Multiplies the contrast by `1 / contrast` to `contrast`, then adds up to a tenth of 255."""
    factor = _factor(rng, contrast)
    level = 127.5 * (1 - factor) + rng.uniform(-0.1, 0.1) * 255
    return cv2.addWeighted(image, factor, image, 0, level).reshape(image.shape), mask


def elastic(image: Array, mask: Array, rng: Generator, crop: Crop | None = None) -> Pair:
    """`elastic_transform` as the isbi preset uses it: displacements of about 3 pixels."""
    return elastic_transform(image, mask, 300, 16, 10, random_state=rng, crop=crop)


def _through_hsv(image, shift=0, saturation=1.0, value=1.0, brighter=0.0):
    """Shifts the hue (of 256), multiplies saturation and value, and adds to the value."""
    if image.shape[-1] == 1:
        return cv2.addWeighted(image, value, image, 0, brighter).reshape(image.shape)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    if shift:  # adding to whole rows takes a tenth of the time of adding to one of three channels
        rows = hsv.reshape(len(hsv), -1)
        rows += np.tile(np.array([shift % 256, 0, 0], np.uint8), hsv.shape[1])  # and wraps around
    change = np.array([[1, 0, 0, 0], [0, saturation, 0, 0], [0, 0, value, brighter]])
    return cv2.cvtColor(cv2.transform(hsv, change), cv2.COLOR_HSV2RGB_FULL)


# By name: the changes, whether elastic deformation follows, and the largest scaling.
AUGMENTATIONS = {
    "photograph": (photograph, False, 1.0),
    "upright": (photograph, False, 1.4),
    "turned": (turned, False, 1.4),
    "microscopy": (microscopy, True, 1.0),
}


def _factor(rng, limit):
    factor = rng.uniform(1, limit)
    return factor if rng.random() < 0.5 else 1 / factor
