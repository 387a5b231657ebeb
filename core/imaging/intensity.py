"""From the values of files to images of 8 bits.

The range of values that becomes 0..255 is one for a data set, found once, and kept in the model.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image
from tqdm import tqdm

from core.config import BYTES
from core.imaging.draw import blocks
from core.imaging.image import describe, read_values
from core.support.errors import UserError
from core.support.threads import mapped

SHARES = (0.001, 0.999)  # of all values, which lie below the lower and the upper end


def read_image(path, channels=3, page=0, intensity=None):
    """Reads an image as a viewer shows it, upright, without transparency; or raises a UserError.

    Args:
        path: the file, in any format that Pillow reads.
        channels: 3 for red, green, blue; 1 for grey.
        page: which image of a multi-page file.
        intensity: the values that become 0 and 255, see `to_bytes`; None: 0 and 65535, where the
            upper 8 of 16 bits are kept, or 0 and 1 in floating point.

    Returns:
        uint8 `[H, W, channels]`.
    """
    return as_image(*read_values(path, page), channels, intensity)


def as_image(values, white_is_zero, channels, intensity):
    """Makes an image, uint8 `[H, W, channels]`, of what `read_values` returns."""
    fits, head = values.shape[2:] == (channels,) * (channels > 1), values[:1]
    if fits and not white_is_zero and to_bytes(head, intensity) is head:
        return values.reshape(*values.shape[:2], channels)
    image = np.empty((*values.shape[:2], channels), np.uint8)
    for rows in blocks(values):  # so that temporary arrays do not grow with the image
        part = to_bytes(values[rows], intensity)
        part = np.invert(part) if white_is_zero else part
        if part.ndim == 3 > channels:
            part = np.asarray(Image.fromarray(part).convert("L"))
        image[rows] = part if part.ndim == 3 else part[..., None]
    return image


def to_bytes(values, intensity):
    """Maps a range of values to 0..255; returns uint8 of the same shape.

    Lower values become 0, higher ones 255, what is no finite number 0. Values of 8 bits stay as
    they are, unless the range is one of such values.
    """
    if intensity is None and values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)  # as Pillow does
    low, high = intensity or (0, 1 if values.dtype.kind == "f" else 65535)
    if values.dtype == np.uint8 and ((low, high) == BYTES or not of_bytes((low, high))):
        return values
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    return np.rint(np.where(np.isfinite(scaled), scaled, 0).clip(0, 255)).astype(np.uint8)


def of_bytes(intensity):
    """Says whether a range can be one of 8-bit values; 0..1 is one of floating-point values."""
    return 0 <= intensity[0] and 1 < intensity[1] <= 255


def find_range(
    image_info: list[dict], workers: int = 1, remember: Callable | None = None
) -> tuple[float, float]:
    """Finds the range of images from all their values, so that single pixels do not count.

    It is 0..255 if all images have 8 bits. Else the ends are those values of the other images,
    all channels together, that 0.1 % and 99.9 % of them do not exceed: exactly, by counting the
    upper 16 bits of each as a float32, and then the lower 16 bits of those that are near an end.
    Where images of 8 bits are among them, a range within 0..255 becomes 0..255, which suits all.

    Args:
        image_info: of a `Dataset`; images that cannot be read are left out.
        workers: threads that read.
        remember: of an `Index` that may know the answer; None: there is none.
    """
    remember = remember or (lambda kind, infos, function: function())

    def look(info):
        return info if remember("deep", [info], lambda: _is_deep(info)) else None

    deep = list(_each(look, image_info, workers))
    low, high = remember("range", deep, lambda: _range_of(deep, workers)) if deep else BYTES
    return BYTES if len(deep) < len(image_info) and of_bytes((low, high)) else (low, high)


def _range_of(deep, workers):
    """The range of images of more than 8 bits, all read twice, or again for values far away."""
    upper = sum(_each(lambda info: _count(_keys(info) >> 16), deep, workers))
    for number in _lone_ends(upper):
        lower = sum(_each(lambda info, n=number: _lower(_keys(info), n), deep, workers))
        if np.count_nonzero(lower) == 1:
            upper[number] = 0
    count = int(np.sum(upper))
    if not count:
        return BYTES
    below = np.cumsum(upper)
    ranks = np.array([*(round(share * (count - 1)) for share in SHARES), 0, count - 1])
    bins = np.searchsorted(below, ranks, side="right")

    def count_lower(info):
        keys = _keys(info)
        return np.stack([_lower(keys, number) for number in bins])

    lower = sum(_each(count_lower, deep, workers)).cumsum(1)
    left = ranks - (below - upper)[bins]
    low, high, least, most = (
        _value((number << 16) + int(np.searchsorted(row, rank, side="right")))
        for number, row, rank in zip(bins.tolist(), lower, left, strict=True)
    )
    if low == high:  # nearly all values are one, as in the dark around a few bright points
        after = float(np.nextafter(np.float32(least), np.float32(np.inf)))  # more than 1 from 2^24
        low, high = least, most if least < most else max(least + 1, after)
    return low, high


def _lone_ends(upper):
    """Where the least values or the most are far from all others, by their upper 16 bits.

    A single value there stands for pixels without data, as -9999 in elevation models, or 0 around
    what a scanner has seen: twice the range of the others away, or more, and up to a quarter of
    the pixels.
    """
    lone = []
    for end in (0, -1) if np.any(upper) else ():
        number = int(np.flatnonzero(upper)[end])
        rest = np.where(np.arange(len(upper)) == number, 0, upper)
        count = rest.sum()
        if not SHARES[0] * count < upper[number] < count / 3 or np.count_nonzero(rest) < 8:
            continue
        ends = np.searchsorted(rest.cumsum(), [share * (count - 1) for share in SHARES], "right")
        low, high, far = (_value(int(n) << 16) for n in (*ends, number))
        if min(abs(far - low), abs(far - high)) > 2 * (high - low):
            lone.append(number)
    return lone


def _each(function, image_info, workers):
    """The function's results for images that can be read, in threads; others are left out."""

    def quiet(info):
        try:
            return function(info)
        except UserError:  # the message comes when the pair is read
            return None

    workers = max(1, workers)
    shown = mapped(quiet, image_info, 4 * workers, workers)
    progress = tqdm(shown, "Finding the range", len(image_info), leave=False, disable=None)
    return (result for result in progress if result is not None)


def _lower(keys, number):
    """Counts the lower 16 bits of the keys whose upper 16 bits are a number."""
    return _count(keys[keys >> 16 == number] & 0xFFFF)


def _count(keys):
    return np.bincount(keys, minlength=1 << 16)


def _is_deep(info):
    return describe(info["image_path"], info.get("page", 0))[0]


def _values(info):
    return read_values(info["image_path"], info.get("page", 0))[0]


def _keys(info):
    """The finite values of an image as float32, as numbers of 32 bits in the same order."""
    with np.errstate(over="ignore"):
        bits = finite_values(_values(info).astype(np.float32)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | 1 << 31)


def _value(key):
    """The value of a key."""
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))


def find_outside(image_info: list[dict], intensity: tuple, workers: int = 1) -> float | None:
    """Returns the share of values that a range cuts off, None if it changes no image.

    For `image_info` see `find_range`.
    """

    def count(info):
        if not _is_deep(info) and (intensity == BYTES or not of_bytes(intensity)):
            return 0, 0  # it stays as it is
        outside = beyond(finite_values(_values(info)), intensity)
        return outside.sum(), outside.size

    outside, size = np.sum([(0, 0), *_each(count, image_info, workers)], 0)
    return outside / size if size else None


def beyond(values: np.ndarray, intensity: tuple) -> np.ndarray:
    """Says of each value whether it lies outside a range."""
    return (values < intensity[0]) | (values > intensity[1])


def finite_values(values: np.ndarray) -> np.ndarray:
    """Returns the values `[N]` that are neither infinite nor NaN."""
    return values[np.isfinite(values)]


def in_words(intensity: tuple) -> str:
    """Says what a range does."""
    low, high = intensity
    text = f"Values from {low:g} to {high:g} become 0 to 255"
    return f"{text}." if of_bytes(intensity) else f"{text}; images of 8 bits stay as they are."
