"""The range of values that becomes 0..255: one for a data set, found once, kept in the model."""

import sys
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from core.config import BYTES
from core.imaging.image import as_image, describe, of_bytes, read_values
from core.support.errors import UserError, one_line
from core.support.threads import mapped

SHARES = (0.001, 0.999)  # of all values, which lie below the lower and the upper end
USUAL = (255, 4095, 65535)  # the most that cameras of 8, 12 and 16 bits give


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
    """The range of images of more than 8 bits, all read twice."""
    upper = sum(_each(lambda info: _count(_keys(info) >> 16), deep, workers))
    count = int(np.sum(upper))
    if not count:
        return BYTES
    below = np.cumsum(upper)
    ranks = np.array([*(round(share * (count - 1)) for share in SHARES), 0, count - 1])
    bins = np.searchsorted(below, ranks, side="right")

    def count_lower(info):
        keys = _keys(info)
        chosen = (keys[keys >> 16 == number] & 0xFFFF for number in bins)
        return np.stack([_count(part) for part in chosen])

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


def _count(keys):
    return np.bincount(keys, minlength=1 << 16)


def _is_deep(info):
    return describe(info["image_path"], info.get("page", 0))[0]


def _values(info):
    return read_values(info["image_path"], info.get("page", 0))[0]


def _keys(info):
    """The finite values of an image as float32, as numbers of 32 bits in the same order."""
    with np.errstate(over="ignore"):
        bits = _finite(_values(info).astype(np.float32)).view(np.uint32)
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
        outside = _outside(_finite(_values(info)), intensity)
        return outside.sum(), outside.size

    outside, size = np.sum([(0, 0), *_each(count, image_info, workers)], 0)
    return outside / size if size else None


def _outside(values, intensity):
    return (values < intensity[0]) | (values > intensity[1])


def _finite(values):
    return values[np.isfinite(values)]


def _sample(values):
    """Of large images every few values, which are enough for a share of them."""
    step = 1 + max(values.shape) // 4096
    return values[::step, ::step]


def in_words(intensity: tuple) -> str:
    """Says what a range does."""
    low, high = intensity
    text = f"Values from {low:g} to {high:g} become 0 to 255"
    return f"{text}." if of_bytes(intensity) else f"{text}; images of 8 bits stay as they are."


class Intensity:
    """The range of a model, for images that it is given.

    A model that was trained on images of 8 bits says nothing about others. For these, the first
    one decides once: the range is the smallest of 0..255, 0..4095 and 0..65535 (for floating point
    also 0..1) that holds 99.9 % of its values.

    Args:
        known: the range that the model was trained on; None for models of version 0.1.
        given: the range that the user names instead, or None.

    Attributes:
        range: the values that become 0 and 255.
    """

    def __init__(self, known: tuple | None, given: tuple | None = None):
        self.range = tuple(given or known or BYTES)
        self._bytes = self.range == BYTES
        self._open = self._bytes and not given
        self._read, self._strange = 0, []
        if given:
            _say(in_words(self.range))

    def look(self, path, page: int = 0) -> None:
        """Looks at an image before it is read; call it in the order of the images."""
        if not self._open:
            return
        try:
            if not describe(path, page)[0]:
                return
            values = _finite(_sample(read_values(path, page)[0]))
        except UserError:  # the message comes when it is read
            return
        self._open = False
        low, high = np.percentile(values, (0.1, 99.9)) if values.size else (0, 1)
        usual = (1, *USUAL) if values.dtype.kind == "f" else USUAL
        top = next((top for top in usual if high <= top), None)
        self.range = (0, top) if top else (float(low), float(high))
        _say(
            f"{path}: has more than 8 bits, unlike the training images. {in_words(self.range)} If "
            "that is not their range, name it with --intensity LOW HIGH."
        )

    def read(self, path, page: int, channels: int, half: bool = False) -> np.ndarray:
        """Reads an image, uint8 `[H, W, channels]`; keeps in mind whether its range is another.

        With `half`, a JPEG may come in half its size, see `read_values`.
        """
        values, white_is_zero = read_values(path, page, half and self._bytes)
        self._read += 1
        if values.dtype != np.uint8 or not self._bytes:
            low, high = self.range
            finite = _finite(_sample(values))
            narrow = finite.size and np.ptp(finite.astype(float)) < 0.02 * (high - low)
            if narrow or 2 * _outside(finite, self.range).sum() > finite.size:
                self._strange.append(path)
        return as_image(values, white_is_zero, channels, self.range)

    def close(self) -> None:
        """Says once whether most images were of quite another range."""
        if 2 * len(self._strange) > self._read:
            first, *others = sorted(set(map(str, self._strange)))
            and_others = f" and {len(others)} more images" if others else ""
            _say(
                f"{first}{and_others}: the values are of quite another range than the model knows. "
                f"{in_words(self.range)} Name their own range with --intensity LOW HIGH."
            )


def _say(note):
    tqdm.write(one_line(note), file=sys.stderr)
