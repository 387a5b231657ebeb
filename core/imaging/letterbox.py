"""The letterbox: how an image gets onto the canvas that the network sees, and back."""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

from core.config import IGNORE

PADDING = 128  # the grey of the canvas around the image
LARGE = 1.6  # times the canvas: such images are shrunk before all else, and kept; VOC's are not


def placement(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns where an image lies on a canvas of `size`: `(top, left, height, width)`, in pixels.

    It keeps its proportions, touches two sides of the canvas, and is centred.
    """
    scale = min(size[0] / shape[0], size[1] / shape[1])
    height, width = (max(1, min(round(n * scale), m)) for n, m in zip(shape[:2], size, strict=True))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def letterbox(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fits an image, uint8 `[H, W, C]`, into a canvas of `(height, width)`; the padding is grey."""
    return _padded(_scaled(image, size, _smooth), size, PADDING)


def letterbox_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fits a mask, uint8 or uint16 `[H, W]`, as `letterbox` does its image; the padding is 255."""
    return _padded(_scaled(mask, size, _nearest), size, IGNORE)


def fit(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> tuple:
    """Fits an image and its mask into a canvas, see `letterbox` and `letterbox_mask`."""
    return letterbox(image, size), letterbox_mask(mask, size)


def padded(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> tuple:
    """Pads an image and its mask to `(height, width)` without resizing; a longer side is cut."""
    size = tuple(map(int, size))
    starts = (max(0, (side - wanted) // 2) for side, wanted in zip(mask.shape, size, strict=True))
    middle = tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True))
    return _padded(image[middle], size, PADDING), _padded(mask[middle], size, IGNORE)


def larger(shape: tuple[int, ...], size: tuple[int, int], ratio: float = 1) -> bool:
    """Says whether a side of an image is more than `ratio` times that of a canvas of `size`."""
    return shape[0] > ratio * size[0] or shape[1] > ratio * size[1]


def shrink(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, int], ratio: float = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Scales an image and its mask as the letterbox will, if they are `ratio` times larger.

    Later changes then have fewer pixels to work on, and the letterbox only adds the padding.
    Shapes and types are those of `letterbox` and `letterbox_mask`.
    """
    if not larger(mask.shape, size, ratio):
        return image, mask
    return _scaled(image, size, _smooth), _scaled(mask, size, _nearest)


def _scaled(pixels, size, resize):
    _, _, height, width = placement(pixels.shape, size)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return resize(pixels, (width, height)).reshape(height, width, *pixels.shape[2:])


def _padded(pixels, size, value):
    height, width = pixels.shape[:2]
    if (height, width) == tuple(size):
        return pixels
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    around = top, size[0] - top - height, left, size[1] - left - width
    canvas = cv2.copyMakeBorder(pixels, *around, cv2.BORDER_CONSTANT, value=(value,) * 4)
    return canvas.reshape(*size, *pixels.shape[2:])  # OpenCV drops a single channel


def _smooth(image, size):
    """Resizes an image bilinearly, but averages where it shrinks, against aliasing.

    From half the size down, OpenCV averages over areas. Above that, a 3x3 mean is mixed in before
    the interpolation, in a third of the time. The area's variance is `(ratio**2 - 1) / 12` above
    that of the interpolation, and the mean's variance is 2/3. Their quotient is the mean's share.
    """
    if (half := halved(image, size[::-1])) is not image:
        return _smooth(half, size)
    ratio = max(image.shape[0] / size[1], image.shape[1] / size[0])
    if ratio >= 2:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    share = (ratio**2 - 1) / 8
    if share > 0.05:  # less is not worth the time
        mean = cv2.blur(image, (3, 3))
        image = cv2.addWeighted(image, 1 - share, mean, share, 0, mean)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def halves(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Says whether the letterbox halves an image first, which takes half the time.

    That is where an image of even sides becomes 4 times smaller.
    """
    height, width = shape[:2]
    return max(height / size[0], width / size[1]) >= 4 and height % 2 == width % 2 == 0


def halved(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns an image in half its size, or as it is: `letterbox` makes the same of both."""
    if not halves(image.shape, size):
        return image
    height, width = image.shape[:2]
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return half.reshape(height // 2, width // 2, -1)


def _nearest(mask, size):
    """Resizes a mask to the values that are nearest.

    A centre may lie between two pixels, at 1/2 each does. There the one before and the one after
    take turns: always the same one would move the mask against its image.
    """
    rows, columns = map(_sources, mask.shape, size[::-1])
    return mask.take(rows, 0).take(columns, 1)


def _sources(old, new):
    """For each of `new` pixels in a row, which of the `old` ones is nearest, integers `[new]`."""
    number = np.arange(new)
    source, rest = np.divmod((2 * number + 1) * old, 2 * new)  # exact, other than with floats
    return source - ((rest == 0) & (number % 2 == 0))


def undo_letterbox(scores: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps scores on the canvas back to the image's own pixels, bilinearly, without the padding.

    The scores are float32 `[height, width, K]`, probabilities or logits, and become `[H, W, K]`.
    """
    result = np.empty((*shape[:2], scores.shape[-1]), np.float32)
    for rows, class_id, plane in _planes(scores, shape):
        result[rows, :, class_id] = plane
    return result


def decide(scores: np.ndarray, shape: tuple[int, ...] | None = None) -> Iterator[tuple]:
    """Finds the class with the highest score at each of the image's pixels, and that score.

    They are those of `undo_letterbox(scores, shape)`, but found block by block, to save time and
    memory. Without a shape, it is that of the whole canvas.

    Yields:
        Rows, a slice, and there the classes, uint8 `[N, W]`, and the scores, float32 `[N, W]`.
    """
    planes = _planes(scores, shape or scores.shape, winners=True)
    for rows, block in itertools.groupby(planes, key=lambda entry: entry[0]):
        for _, class_id, plane in block:
            if class_id == 0:
                found, best = np.zeros(plane.shape, np.uint8), plane
                continue
            higher = cv2.compare(plane, best, cv2.CMP_GT)  # 255 or 0
            np.maximum(found, higher & np.uint8(class_id), out=found)
            cv2.max(best, plane, best)
        yield rows, found, best


def _planes(scores, shape, winners=False):
    """Yields blocks of rows, a class, and its scores there at the image's own size.

    With `winners`, all classes but the first may be missing where they are nowhere the highest:
    between four pixels, that is not below the least of a class at these.
    """
    top, left, height, width = placement(shape, scores.shape[:2])
    crop = scores[top : top + height, left : left + width]
    planes = cv2.transpose(crop.reshape(height * width, -1)).reshape(-1, height, width)
    if (height, width) == tuple(shape[:2]):
        yield from ((slice(None), class_id, plane) for class_id, plane in enumerate(planes))
        return
    wins = np.ones((len(planes), height), bool)  # whether a class may be the highest in a row
    if winners and shape[0] * shape[1] > 4 * height * width:  # pays from twice the side on
        around = np.ones((3, 3), np.uint8)
        least = np.max([cv2.erode(plane, around) for plane in planes], 0)
        wins = np.array([(cv2.dilate(plane, around) >= least).any(1) for plane in planes])
    for rows, needed, weights in _blocks(height, *shape[:2]):
        size = shape[1], shape[0] if weights is None else needed.stop - needed.start
        for class_id, plane in enumerate(planes):
            if class_id == 0 or wins[class_id, needed].any():
                part = cv2.resize(plane[needed], size)
                yield rows, class_id, part if weights is None else weights @ part


def _blocks(old, new, width):
    """Divides `new` rows, interpolated between `old` ones, into blocks that a cache can hold.

    Yields a block's rows, the old ones that it needs, and their weights; None for the only block.
    """
    step = max(1, min(2**12, 2**18 // width))
    if step >= new:
        yield slice(0, new), slice(0, old), None
        return
    places = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    for first in range(0, new, step):
        inside = places[first : first + step]
        needed = slice(int(inside[0]), min(int(inside[-1]) + 2, old))
        distances = abs(inside[:, None] - np.arange(needed.start, needed.stop))
        yield slice(first, first + step), needed, np.maximum(0, 1 - distances).astype(np.float32)
