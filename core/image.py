"""Reading pictures and masks, and the letterbox: the one way into the network and back."""

import cv2
import numpy as np
from PIL import Image, ImageOps

from core.config import IGNORE
from core.errors import UserError
from core.files import replacing

PADDING = 128  # the grey that fills what a picture leaves free of the canvas
_ID_MODES = ("1", "L", "P")  # Pillow's modes whose pixel values can be class ids


def read_image(path, channels=3, page=0):
    """Reads a picture as a viewer shows it, upright.

    Args:
        path: the file, in any 8-bit format that Pillow reads.
        channels: 3 for red, green, blue; 1 for grey.
        page: which picture of a multi-page file.

    Returns:
        uint8 `[H, W, channels]`.

    Raises:
        UserError: if the file cannot be read.
    """
    picture = _load(path, page, "picture")
    if picture.mode.startswith(("I", "F")):
        raise UserError(
            f"{path}: has more than 8 bits a channel (mode {picture.mode}). Convert it to 8 bits."
        )
    upright = ImageOps.exif_transpose(picture)
    image = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
    return image if image.ndim == 3 else image[..., None]


def read_mask(path, page=0):
    """Reads the values of a mask, uint8 `[H, W]`, without any conversion of a palette to colours.

    Raises:
        UserError: if the file cannot be read or has colours instead of values.
    """
    picture = _load(path, page, "mask")
    if picture.mode not in _ID_MODES:
        raise UserError(
            f"{path}: a mask must hold one class id a pixel, but this file has colours (mode "
            f"{picture.mode}). Save it as an 8-bit grey or palette PNG of ids."
        )
    return np.asarray(picture, np.uint8)


def _load(path, page, kind):
    """Opens and decodes one page; whatever goes wrong is a UserError that names the file."""
    try:
        with Image.open(path) as picture:
            picture.seek(page)
            picture.load()
            return picture
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {kind}.") from None
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise UserError(
            f"{path}: cannot be read as a {kind} ({error}). Replace the file."
        ) from error


def write_mask(path, mask, palette):
    """Writes class ids as a palette PNG: the ids are the pixel values, the palette shows them.

    Args:
        path: the file.
        mask: uint8 `[H, W]`.
        palette: `[N, 3]`, red, green and blue of the ids from 0 on.
    """
    colours = np.zeros((256, 3), np.uint8)  # all 256: Pillow squeezes the ids into fewer bits else
    colours[: len(palette)] = palette
    picture = Image.fromarray(mask)
    picture.putpalette(colours.tobytes())
    with replacing(path) as partial:
        picture.save(partial)


def write_image(path, image):
    """Writes a uint8 picture `[H, W, 3]`."""
    with replacing(path) as partial:
        Image.fromarray(image).save(partial)


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
    return _fit(image, size, PADDING, cv2.INTER_AREA, cv2.INTER_LINEAR)


def letterbox_mask(mask, size):
    """Fits a mask into the canvas as `letterbox` does its picture; what is left free is 255."""
    return _fit(mask, size, IGNORE, cv2.INTER_NEAREST_EXACT, cv2.INTER_NEAREST_EXACT)


def _fit(pixels, size, padding, shrinking, growing):
    top, left, height, width = placement(pixels.shape, size)
    if (height, width) != pixels.shape[:2]:
        how = shrinking if height < pixels.shape[0] else growing
        resized = cv2.resize(pixels, (width, height), interpolation=how)
        pixels = resized.reshape(height, width, *pixels.shape[2:])  # OpenCV drops a single channel
    if (height, width) == tuple(size):
        return pixels
    canvas = np.full((*size, *pixels.shape[2:]), padding, np.uint8)
    canvas[top : top + height, left : left + width] = pixels
    return canvas


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
