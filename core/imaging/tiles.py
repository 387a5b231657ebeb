"""Overlap-tile: pictures of any size at their own resolution, piece by piece.

After the U-Net paper (Ronneberger et al. 2015): the picture is continued beyond its edges by its
mirror image, and cut into tiles that overlap by as far as the network sees. Of each tile only the
core is kept, which no edge of the tile has any influence on. So the cores together are what the
network says of the whole mirrored-in picture at once, and take only a tile's memory. That holds for
same-padded networks, whose margins are cut off, and for the paper's, which gives none out.
"""

import math

import numpy as np

from core.config import IGNORE


def places(shape, geometry, longest):
    """Divides a picture into cores of one shape.

    Args:
        shape: the picture's shape, height and width first.
        geometry: a `Geometry`.
        longest: how long the side of a tile may be, margins included, in pixels. It is exceeded
            where the core would be shorter than its margins, and most of the work be for them.

    Returns:
        For each core its rows and columns, a pair of slices. The last ones may reach beyond the
        picture.
    """
    largest = max(geometry.grid, longest - 2 * geometry.margin, geometry.margin)
    largest = largest // geometry.grid * geometry.grid
    sides = []
    for length in shape[:2]:
        count = math.ceil(length / largest)
        core = math.ceil(length / count / geometry.grid) * geometry.grid
        sides.append([slice(start, start + core) for start in range(0, length, core)])
    return [(rows, columns) for rows in sides[0] for columns in sides[1]]


def cut(image, geometry, place):
    """Cuts a core with its margins out of a picture `[H, W, C]` that is mirrored at its edges."""
    rows, columns = (
        _mirrored(part.start - geometry.margin, part.stop + geometry.margin, side)
        for part, side in zip(place, image.shape[:2], strict=True)
    )
    return image[np.ix_(rows, columns)]


def core_of(scores, geometry, place, shape):
    """Cuts out of a tile's scores those of the core, as far as it lies in a picture of `shape`."""
    margin = geometry.margin - geometry.border
    rows, columns = (
        slice(margin, margin + min(part.stop, side) - part.start)
        for part, side in zip(place, shape, strict=False)
    )
    return scores[rows, columns]


def surround(image, geometry, window=None):
    """Cuts out a window with what the network needs around it for an output that covers it.

    Around it is what the picture has there, and beyond the picture's edges its mirror image. The
    output begins where the window does and may go on behind it.

    Args:
        image: `[H, W, C]`.
        geometry: a `Geometry`.
        window: rows and columns, a pair of slices; None: the whole picture.
    """
    rows, columns = (
        _mirrored(start - geometry.border, stop + geometry.border, side)
        for (start, stop), side in zip(
            _answered(image.shape, geometry, window), image.shape, strict=False
        )
    )
    return image[np.ix_(rows, columns)]


def surrounded(mask, geometry, window=None):
    """Cuts out of a mask what the network's output is compared with; see `surround`.

    Args:
        mask: uint8 or uint16 `[H, W]`; beyond its edges nothing is known, which is 255.
        geometry: a `Geometry`.
        window: rows and columns, a pair of slices; None: the whole mask.
    """
    (top, bottom), (left, right) = _answered(mask.shape, geometry, window)
    known = mask[top:bottom, left:right]
    found = np.full((bottom - top, right - left), IGNORE, mask.dtype)
    found[: known.shape[0], : known.shape[1]] = known
    return found


def _answered(shape, geometry, window):
    """Where the output begins and ends that covers a window, for rows and columns."""
    window = window or tuple(slice(0, side) for side in shape[:2])
    border = 2 * geometry.border
    return [
        (part.start, part.start + geometry.fitting(part.stop - part.start) - border)
        for part in window
    ]


def _mirrored(start, stop, length):
    """Pixel numbers from `start` to `stop`, those outside 0..length - 1 mirrored into it."""
    if length == 1:
        return np.zeros(stop - start, int)
    period = 2 * (length - 1)
    numbers = np.arange(start, stop) % period
    return np.minimum(numbers, period - numbers)
