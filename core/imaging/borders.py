"""The border weights of the U-Net paper: pixels between objects that touch count more.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, equation 2: a pixel weighs `w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2))`, with d1 and d2
its distances to the nearest and the second nearest object. This is the second term; the first,
which balances the classes, is what the data set's `class_weights` are for.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, label

from core.config import IGNORE
from core.imaging.image import read_mask
from core.support.errors import UserError
from core.support.files import cache_folder

W0, SIGMA = 10, 5  # the paper's


def border_weights(mask, w0=W0, sigma=SIGMA):
    """Evaluates the second term of the equation.

    An object is a connected region (by sides, not by corners) of one class. Distances go from
    pixel centre to pixel centre.

    Args:
        mask: uint8 `[H, W]`, class ids with 0 for the background and 255 for ignored.
        w0: the weight where the distances are 0.
        sigma: how far it reaches, in pixels.

    Returns:
        float32 `[H, W]`: 0 outside the background, and everywhere if there is but one object.
    """
    numbers, count = _objects(mask)
    if count < 2:
        return np.zeros(mask.shape, np.float32)
    second = np.inf
    # Each bit of their numbers divides the objects into two sides. The smaller of a pixel's
    # distances to the sides is d1. The larger is d2 if the two nearest objects are on different
    # sides, as they are for at least one bit, and no less than d2 otherwise.
    for bit in range((count - 1).bit_length()):
        side = np.where(numbers < 0, -1, numbers >> bit & 1)
        distances = [distance_transform_edt(side != this) for this in (0, 1)]
        second = np.minimum(second, np.maximum(*distances))
    total = np.minimum(*distances) + second
    weights = w0 * np.exp(-np.square(total) / (2 * sigma**2))
    return np.where(mask == 0, weights, 0).astype(np.float32)


def _objects(mask):
    """Numbers the objects from 0, int32 `[H, W]` with -1 where there is none, and counts them."""
    numbers, count = np.full(mask.shape, -1, np.int32), 0
    for class_id in np.setdiff1d(mask, (0, IGNORE)):
        regions, found = label(mask == class_id)
        inside = regions > 0
        numbers[inside] = regions[inside] + (count - 1)
        count += found
    return numbers, count


def cached_border_weights(mask):
    """Returns `border_weights(mask)` as uint8 levels, 255 for `W0`, computed once for every mask.

    They are kept where Keras keeps its data sets. Threads and processes may call this at once.

    Raises:
        UserError: if they cannot be written.
    """
    settings = repr((mask.shape, W0, SIGMA)).encode()
    name = hashlib.sha256(mask.tobytes() + settings).hexdigest()
    path = cache_folder("borders") / f"{name}.png"
    with contextlib.suppress(UserError):  # not there yet, or damaged
        levels = read_mask(path)
        if levels.shape == mask.shape:
            return levels
    levels = np.rint(border_weights(mask) * (255 / W0)).astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own for each writer, as another may be at the same mask.
        with tempfile.TemporaryDirectory(dir=path.parent) as own:
            Image.fromarray(levels).save(Path(own) / path.name)
            os.replace(Path(own) / path.name, path)
    except OSError as error:
        raise UserError(
            f"{path.parent}: the border weights cannot be written ({error.strerror}). Name a "
            "folder for them in the environment variable KERAS_HOME."
        ) from error
    return levels


def pack(mask):
    """Puts a mask and its border weights into one, so that they move together in augmentation.

    Returns:
        uint16 `[H, W]`: the id in the lower byte, the level of `cached_border_weights` in the upper
        one. 255, which is put in where nothing is known, means ignored and no weight.
    """
    return mask | cached_border_weights(mask).astype(np.uint16) << 8


def unpack(packed):
    """Takes it apart: the ids, uint8, and the border weights, float32, 0 to `W0`.

    Raises:
        UserError: if the upper byte is lost.
    """
    if packed.dtype.itemsize < 2:
        raise UserError(
            f"augment returned a mask of type {packed.dtype}. With border weights it is given one "
            "of type uint16. Move its pixels, but keep their values and type."
        )
    return (packed & 255).astype(np.uint8), (packed >> 8) * np.float32(W0 / 255)
