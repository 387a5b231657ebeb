"""The letterbox: the one way into the canvas that the network sees, and back."""

import cv2
import numpy as np

from core.config import IGNORE

PADDING = 128  # the grey that fills what a picture leaves free of the canvas


def placement(shape, size):
    """Returns where a picture lies on the canvas: `(top, left, height, width)`.

    It is scaled, keeping its proportions, until it touches two sides of the canvas, and centred.

    Args:
        shape: the picture's shape, height and width first.
        size: the canvas, `(height, width)`.
    """
    scale = min(size[0] / shape[0], size[1] / shape[1])
    height, width = (max(1, min(round(n * scale), m)) for n, m in zip(shape[:2], size, strict=True))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def letterbox(image, size):
    """Fits a picture into the canvas; what it leaves free is grey.

    Args:
        image: uint8 `[H, W, C]`.
        size: the canvas, `(height, width)`.

    Returns:
        uint8 `[height, width, C]`.
    """
    return _fit(image, size, PADDING, _resized)


def letterbox_mask(mask, size):
    """Fits a mask into the canvas as `letterbox` does its picture; what is left free is 255.

    Args:
        mask: uint8 or uint16 `[H, W]`.
        size: the canvas, `(height, width)`.

    Returns:
        The same type, `[height, width]`.
    """
    return _fit(mask, size, IGNORE, _nearest)


def shrink(image, mask, size):
    """Scales a picture and its mask as the letterbox will, if that makes them smaller.

    The letterbox then has no more to do than to fill what they leave free.

    Args:
        image: uint8 `[H, W, C]`.
        mask: uint8 or uint16 `[H, W]`.
        size: the canvas, `(height, width)`.

    Returns:
        Image and mask, of the same types.
    """
    if size[0] >= mask.shape[0] and size[1] >= mask.shape[1]:
        return image, mask
    return _scaled(image, size, _resized), _scaled(mask, size, _nearest)


def _scaled(pixels, size, resize):
    _, _, height, width = placement(pixels.shape, size)
    if (height, width) == pixels.shape[:2]:
        return pixels
    resized = resize(pixels, (width, height))
    return resized.reshape(height, width, *pixels.shape[2:])


def _fit(pixels, size, padding, resize):
    top, left, height, width = placement(pixels.shape, size)
    pixels = _scaled(pixels, size, resize)
    if (height, width) == tuple(size):
        return pixels
    around = top, size[0] - top - height, left, size[1] - left - width
    canvas = cv2.copyMakeBorder(pixels, *around, cv2.BORDER_CONSTANT, value=(padding,) * 4)
    return canvas.reshape(*size, *pixels.shape[2:])  # OpenCV drops a single channel


def _resized(image, size):
    """Resizes a picture: bilinearly, and averaged where it shrinks, so that little aliases.

    Down to half the size, the average over areas is taken by a blur before the interpolation, in a
    third of the time. The area's variance is `(ratio**2 - 1) / 12` above that of the interpolation,
    the variance of a mean over 3x3 pixels is 2/3; that is how much of the mean is mixed in.
    """
    ratio = max(image.shape[0] / size[1], image.shape[1] / size[0])
    if ratio >= 2:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    part = (ratio**2 - 1) / 8
    if part > 0.05:  # less is not worth the time
        mean = cv2.blur(image, (3, 3))
        image = cv2.addWeighted(image, 1 - part, mean, part, 0, mean)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _nearest(mask, size):
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)


def undo_letterbox(scores, shape):
    """Maps what the network says of a canvas back to the picture's own pixels.

    Args:
        scores: float32 `[height, width, K]`, class probabilities or logits on the canvas.
        shape: the picture's own shape, height and width first.

    Returns:
        float32 `[H, W, K]`: the part of the canvas that the picture covers, resized bilinearly.
    """
    return np.stack(list(_planes(scores, shape)), axis=-1)


def class_map(scores, shape=None):
    """Returns the class with the highest score at each of the picture's own pixels.

    The same as `undo_letterbox(scores, shape).argmax(-1)`, class by class and so without all scores
    at the picture's own size in memory.

    Args:
        scores: float32 `[height, width, K]`, class probabilities or logits on the canvas.
        shape: the picture's own shape, height and width first; None: the whole canvas as it is.

    Returns:
        uint8 `[H, W]`.
    """
    best = found = None
    for class_id, plane in enumerate(_planes(scores, shape)):
        if best is None:
            best, found = plane.copy(), np.zeros(plane.shape, np.uint8)
            continue
        better = cv2.compare(plane, best, cv2.CMP_GT)
        found[better > 0] = class_id
        cv2.max(best, plane, best)
    return found


def _planes(scores, shape):
    """Yields the scores of one class after the other, at the picture's own size."""
    if shape is None:
        shape = scores.shape[:2]
    top, left, height, width = placement(shape, scores.shape[:2])
    for plane in np.moveaxis(scores[top : top + height, left : left + width], -1, 0):
        plane = np.ascontiguousarray(plane)
        if (height, width) != tuple(shape[:2]):
            plane = cv2.resize(plane, shape[1::-1], interpolation=cv2.INTER_LINEAR)
        yield plane
