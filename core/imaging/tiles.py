"""Overlap-tile: images of any size at their own resolution, tile by tile.

After the U-Net paper (Ronneberger et al. 2015). The image is mirrored beyond its edges and cut into
tiles, which overlap by the receptive radius of the network. Of each tile only the core is kept, far
enough from the tile's edges. So the cores together equal the result of one pass over the mirrored
image, in the memory of one tile. That holds for padded networks, whose margins are cut off, and for
the paper's network, which has no output there.
"""

import math

import numpy as np

from core.config import IGNORE
from core.imaging.elastic import Crop
from nets.reach import Geometry


def places(shape: tuple[int, ...], geometry: Geometry, longest: int) -> list[Crop]:
    """Divides an image into cores of one shape.

    Args:
        shape: the image's shape, height and width first.
        geometry: the network's.
        longest: how long the side of a tile may be, margins included, in pixels. It is exceeded
            where a core would be shorter than its margins, as most of the work would be for these.

    Returns:
        For each core its rows and columns, a pair of slices. The last ones may end beyond the
        image.
    """
    largest = max(geometry.grid, longest - 2 * geometry.margin, geometry.margin)
    largest = largest // geometry.grid * geometry.grid
    sides = []
    for length in shape[:2]:
        count = math.ceil(length / largest)
        core = math.ceil(length / count / geometry.grid) * geometry.grid
        sides.append([slice(start, start + core) for start in range(0, length, core)])
    return [(rows, columns) for rows in sides[0] for columns in sides[1]]


def cut(image: np.ndarray, geometry: Geometry, place: Crop) -> np.ndarray:
    """Cuts a core with its margins out of an image `[H, W, C]`, mirrored at its edges."""
    margin = geometry.margin
    return _taken(image, [(part.start - margin, part.stop + margin) for part in place])


def core_of(
    scores: np.ndarray, geometry: Geometry, place: Crop, shape: tuple[int, ...]
) -> np.ndarray:
    """Cuts the core out of a tile's scores, as far as it lies in an image of `shape`."""
    margin = geometry.margin - geometry.border
    rows, columns = (
        slice(margin, margin + min(part.stop, side) - part.start)
        for part, side in zip(place, shape, strict=False)
    )
    return scores[rows, columns]


def surround(image: np.ndarray, geometry: Geometry, crop: Crop | None = None) -> np.ndarray:
    """Cuts out a crop with the surroundings that the network needs for an output that covers it.

    The surroundings are the image's own pixels, and beyond its edges their mirror image. The output
    begins with the crop and may end behind it.

    Args:
        image: `[H, W, C]`.
        geometry: the network's.
        crop: rows and columns, a pair of slices; None: the whole image.
    """
    border = geometry.border
    output = _output(image.shape, geometry, crop)
    return _taken(image, [(start - border, stop + border) for start, stop in output])


def surrounded(mask: np.ndarray, geometry: Geometry, crop: Crop | None = None) -> np.ndarray:
    """Cuts out of a mask what the network's output is compared with; see `surround`.

    Args:
        mask: uint8 or uint16 `[H, W]`; it is 255 beyond its edges.
        geometry: the network's.
        crop: rows and columns, a pair of slices; None: the whole mask.
    """
    (top, bottom), (left, right) = _output(mask.shape, geometry, crop)
    known = mask[top:bottom, left:right]
    found = np.full((bottom - top, right - left), IGNORE, mask.dtype)
    found[: known.shape[0], : known.shape[1]] = known
    return found


def _output(shape, geometry, crop):
    """Where the output for a crop begins and ends, for rows and columns."""
    crop = crop or tuple(slice(0, side) for side in shape[:2])
    border = 2 * geometry.border
    return [
        (part.start, part.start + geometry.fitting(part.stop - part.start) - border)
        for part in crop
    ]


def _taken(image, ranges):
    """The pixels of two ranges `(start, stop)`, rows and columns, of the mirrored image."""
    pairs = zip(ranges, image.shape[:2], strict=True)
    return image[np.ix_(*(_mirrored(start, stop, side) for (start, stop), side in pairs))]


def _mirrored(start, stop, length):
    """Pixel numbers from `start` to `stop`; those outside 0..length - 1 are mirrored into it."""
    if length == 1:
        return np.zeros(stop - start, int)
    period = 2 * (length - 1)
    numbers = np.arange(start, stop) % period
    return np.minimum(numbers, period - numbers)
