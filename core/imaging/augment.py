"""Random changes of a picture together with its mask.

Every function takes `(image, mask, rng)`: uint8 `[H, W, C]`, uint8 or uint16 `[H, W]` and a
`np.random.Generator`, and returns a changed pair of the same types; the arguments stay as they are.
Geometry is the same for both: the picture is interpolated, the mask takes the nearest value, and
what no pixel of the picture reaches becomes 255 in the mask.
"""

import cv2
import numpy as np

from core.config import IGNORE
from core.imaging.elastic import deform, elastic_transform
from core.imaging.letterbox import PADDING, shrink


def photograph(image, mask, rng, size=None):
    """The reference's augmentation for VOC: each change with probability 1/2.

    With the `size = (height, width)` of the canvas, all but the first is done on a picture that is
    already as small as there.
    """
    if rng.random() < 0.5:
        image, mask = crop(image, mask, rng)
    if size:
        image, mask = shrink(image, mask, size)
    for change in (flip, translate, sharpness):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return colours(image, mask, rng)


def microscopy(image, mask, rng):
    """For slices without an up and down: any orientation, and each other change half the time.

    To be followed by `elastic`, which needs to know what of the result is wanted.
    """
    image, mask = orient(image, mask, rng)
    for change in (crop, translate, intensity):
        if rng.random() < 0.5:
            image, mask = change(image, mask, rng)
    return image, mask


def paper(image, mask, rng):
    """As the U-Net paper asks for: rotations, elastic deformations, grey value variations.

    Where a picture is divided into random windows, they see to the shifts.
    """
    image, mask = deform(*orient(image, mask, rng), rng)
    return intensity(image, mask, rng) if rng.random() < 0.5 else (image, mask)


def orient(image, mask, rng):
    """Takes one of the eight orientations of a square, all equally likely."""
    image, mask = quarter_turn(image, mask, rng)
    return flip(image, mask, rng) if rng.random() < 0.5 else (image, mask)


def flip(image, mask, rng):
    """Exchanges left and right."""
    del rng
    return cv2.flip(image, 1).reshape(image.shape), cv2.flip(mask, 1)


def quarter_turn(image, mask, rng):
    """Turns by 0, 90, 180 or 270 degrees."""
    turns = int(rng.integers(4))  # against the clock; OpenCV's codes count the other way
    if not turns:
        return image, mask
    turned, ids = cv2.rotate(image, 3 - turns), cv2.rotate(mask, 3 - turns)
    return turned.reshape(*ids.shape, image.shape[2]), ids


def crop(image, mask, rng, share=0.1):
    """Cuts off up to `share` of the height at top and bottom and of the width at both sides."""
    height, width = mask.shape
    top, bottom = rng.integers(0, int(height * share) + 1, 2)
    left, right = rng.integers(0, int(width * share) + 1, 2)
    window = slice(top, height - bottom), slice(left, width - right)
    return image[window], mask[window]


def window(shape, rng, size):
    """Draws a window of `size = (height, width)`, or all where the picture is smaller.

    Returns:
        Its rows and columns, a pair of slices.
    """
    found = []
    for side, wanted in zip(shape[:2], size, strict=True):
        start = int(rng.integers(0, max(side - wanted, 0) + 1))
        found.append(slice(start, min(start + wanted, side)))
    return tuple(found)


def translate(image, mask, rng, share=0.1):
    """Moves by whole pixels, up to `share` of a side; what is uncovered is grey and 255."""
    old, new = [], []
    for side in mask.shape:
        limit = int(side * share)
        shift = int(rng.integers(-limit, limit + 1))
        old.append(slice(max(0, -shift), side - max(0, shift)))
        new.append(slice(max(0, shift), side - max(0, -shift)))
    moved, ids = np.full_like(image, PADDING), np.full_like(mask, IGNORE)
    moved[tuple(new)], ids[tuple(new)] = image[tuple(old)], mask[tuple(old)]
    return moved, ids


def colours(image, mask, rng, hue=0.1, saturation=1.5, value=1.5, brightness=0.3):
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


def sharpness(image, mask, rng, limit=3.0):
    """Blurs or sharpens: a mix of smoothed (0), unchanged (1) and sharpened (up to `limit`)."""
    factor = rng.uniform(0, limit)
    # Smoothed is as in Pillow: the mean of 3x3 pixels, the one in the middle counted five times.
    others = (1 - factor) * 9 / 13
    mean = cv2.blur(image, (3, 3))
    cv2.addWeighted(image, 1 - others, mean, others, 0, mean)
    return mean.reshape(image.shape), mask


def intensity(image, mask, rng, contrast=1.3, shift=0.1):
    """Stretches the contrast by `1 / contrast` to `contrast`, then shifts the level."""
    factor = _factor(rng, contrast)
    level = 127.5 * (1 - factor) + rng.uniform(-shift, shift) * 255
    return cv2.addWeighted(image, factor, image, 0, level).reshape(image.shape), mask


def elastic(image, mask, rng, window=None):
    """`elastic_transform` as the isbi preset uses it: displacements of about 3 pixels."""
    return elastic_transform(image, mask, 300, 16, 10, random_state=rng, window=window)


def _through_hsv(image, shift=0, saturation=1.0, value=1.0, brighter=0.0):
    """Shifts the hue (of 256), multiplies saturation and value, and adds to the value."""
    if image.shape[-1] == 1:
        return cv2.addWeighted(image, value, image, 0, brighter).reshape(image.shape)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    if shift:  # added to whole rows, which takes a tenth of the time of adding to one of three
        rows = hsv.reshape(len(hsv), -1)
        rows += np.tile(np.array([shift % 256, 0, 0], np.uint8), hsv.shape[1])  # and wraps around
    change = np.array([[1, 0, 0, 0], [0, saturation, 0, 0], [0, 0, value, brighter]])
    return cv2.cvtColor(cv2.transform(hsv, change), cv2.COLOR_HSV2RGB_FULL)


def _factor(rng, limit):
    """A factor between `1 / limit` and `limit`."""
    factor = rng.uniform(1, limit)
    return factor if rng.random() < 0.5 else 1 / factor
