"""Overlap-tile: images of any size at their own resolution, tile by tile.

After the U-Net paper (Ronneberger et al. 2015). The image is cut into tiles, which overlap by at
least twice the receptive radius of the network. Only the core of each tile is kept, far enough from
those edges of the tile that lie inside the image. So the cores together equal the result of one
pass over the image, in the memory of one tile. For a network with padding, tiles end where the
image ends, as crops do in training; only a side that is no multiple of the grid is filled up, by
the mirror image. A network without padding is given the mirror image on all sides.
"""

import contextlib
import dataclasses
import itertools
import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from core.config import IGNORE
from core.imaging.elastic import Crop
from core.imaging.letterbox import decide
from nets.reach import Geometry

LARGEST = 2**30  # pixels of an image that is cut into tiles
UNSURE = 0.6  # pixels whose highest probability is below are counted


class Place(NamedTuple):
    """Where a tile lies, and its core, the part of it that is kept: rows and columns of both."""

    window: Crop
    core: Crop


def places(shape: tuple[int, ...], geometry: Geometry, longest: int) -> list[Place]:
    """Divides an image into cores, each a part of a tile. All tiles have one shape.

    `longest` is the longest side of a tile, in pixels. Tiles may be longer, up to three margins: in
    shorter ones, most of the work would go into the margins.
    """
    sides = (_along(length, geometry, longest) for length in shape[:2])
    return [Place(*zip(*pair, strict=True)) for pair in itertools.product(*sides)]


def _along(length, geometry, longest):
    """The windows and the cores along one side of an image, in pairs."""
    grid, margin = geometry.grid, geometry.margin
    beyond = margin if geometry.trim else 0  # how far the tiles reach beyond the image
    whole = math.ceil(length / grid) * grid + 2 * beyond
    largest = max(grid, longest - 2 * margin, margin) // grid * grid
    between = max(grid, whole - 2 * margin)  # without the first margin and the last one
    step = math.ceil(between / math.ceil(between / largest) / grid) * grid
    starts = range(0, between, step)
    window = min(step + 2 * margin, whole)
    edges = [0, *(start + margin - beyond for start in starts[1:]), length]
    for start, core in zip(starts, itertools.pairwise(edges), strict=True):
        first = min(start, whole - window) - beyond  # the last one moves back, to fit in
        yield slice(first, first + window), slice(*core)


def cut(image: np.ndarray, place: Place) -> np.ndarray:
    """Cuts a tile out of an image `[H, W, C]`, which is mirrored where the tile reaches beyond."""
    return _cut_mirrored(image, place.window, 0)


def core_of(scores: np.ndarray, geometry: Geometry, place: Place) -> np.ndarray:
    """Cuts the core out of a tile's scores."""
    starts = (window.start + geometry.trim for window in place.window)
    pairs = zip(place.core, starts, strict=True)
    return scores[tuple(slice(core.start - start, core.stop - start) for core, start in pairs)]


def random_crop(shape: tuple[int, ...], rng: np.random.Generator, size: tuple[int, int]) -> Crop:
    """Draws rows and columns of a crop of `size = (height, width)`; a shorter side stays whole."""
    crop = []
    for side, wanted in zip(shape[:2], size, strict=True):
        start = int(rng.integers(0, max(side - wanted, 0) + 1))
        crop.append(slice(start, min(start + wanted, side)))
    return tuple(crop)


def onto_objects(crop: Crop, mask: np.ndarray, rng: np.random.Generator) -> Crop:
    """Moves a crop that shows a single class, half of the time, to a random pixel of another one.

    Small objects in large images would hardly be seen else. nnU-Net does so for a third of its
    patches (Isensee et al. 2021). The mask is uint8 `[H, W]`; its classes are equally likely.
    """
    seen = np.unique(mask[crop])
    if len(seen[seen != IGNORE]) > 1 or rng.random() < 0.5:
        return crop
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
    counts[[IGNORE, *seen]] = 0
    others = np.flatnonzero(counts)
    if not len(others):
        return crop
    hits = mask == rng.choice(others)
    below = np.count_nonzero(hits, axis=1).cumsum()  # in the rows so far
    rank = int(rng.integers(below[-1]))
    row = int(np.searchsorted(below, rank, side="right"))
    column = int(np.flatnonzero(hits[row])[rank - below[row]])  # from the end of the row
    moved = []
    for at, side, part in zip((row, column), mask.shape, crop, strict=True):
        length = part.stop - part.start
        start = max(0, min(int(rng.integers(at - length + 1, at + 1)), side - length))
        moved.append(slice(start, start + length))
    return tuple(moved)


def surround(image: np.ndarray, geometry: Geometry, crop: Crop | None = None) -> np.ndarray:
    """Cuts out a crop with the surroundings that an unpadded network needs to answer for it.

    The surroundings are the pixels of the image `[H, W, C]`, and beyond its edges their mirror
    image. The output begins with the crop, by default the whole image, and may end behind it.
    """
    return _cut_mirrored(image, _output(image.shape, geometry, crop), geometry.trim)


def surrounded(mask: np.ndarray, geometry: Geometry, crop: Crop | None = None) -> np.ndarray:
    """Cuts out the part of a mask that the output for `surround` covers, 255 beyond the edges."""
    parts = _output(mask.shape, geometry, crop)
    known = mask[parts]
    sides = zip(parts, known.shape, strict=True)
    beyond = [(0, part.stop - part.start - side) for part, side in sides]
    return np.pad(known, beyond, constant_values=IGNORE)


def _output(shape, geometry, crop):
    """Rows and columns of the output for a crop."""
    parts = crop or [slice(0, side) for side in shape[:2]]
    sides = (geometry.fitting(part.stop - part.start) - 2 * geometry.trim for part in parts)
    return tuple(slice(part.start, part.start + n) for part, n in zip(parts, sides, strict=True))


def _cut_mirrored(image, parts, margin):
    """Cuts out rows and columns with a margin; the image is mirrored."""
    pairs = zip(parts, image.shape[:2], strict=True)
    return image[np.ix_(*(_mirrored(p.start - margin, p.stop + margin, n) for p, n in pairs))]


def _mirrored(start, stop, length):
    """Pixel numbers from `start` to `stop`; those outside 0..length - 1 are mirrored into it."""
    period = max(1, 2 * (length - 1))
    numbers = np.arange(start, stop) % period
    return np.minimum(numbers, period - numbers)


@contextlib.contextmanager
def large_images(allowed: bool = True):
    """Lets images have up to `LARGEST` pixels, in place of what Pillow takes for harmless."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = LARGEST if allowed else usual
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def as_array(image: Image.Image) -> np.ndarray:
    """Returns the values of Pillow's image, `[H, W]` or `[H, W, bands]`.

    Large ones are copied block by block, because NumPy would hold them three times.
    """
    step = max(1, 2**20 // image.width)
    if image.height <= step:
        return np.asarray(image)
    values = None
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        part = np.asarray(image.crop((0, top, image.width, bottom)))
        if values is None:
            values = np.empty((image.height, *part.shape[1:]), part.dtype)
        values[top:bottom] = part
    return values


@dataclasses.dataclass
class OnTiles:
    """What the network says of an image, filled tile by tile, or in blocks of rows."""

    mask: np.ndarray  # uint8 `[H, W]`
    kept: np.ndarray | None  # the class probabilities `[H, W, K]`, if they are to be kept
    best: np.ndarray | None  # the highest of them, `[H, W]`, if they are to be kept
    sums: np.ndarray | int = 0  # the `certainty` of all that is filled

    @classmethod
    def empty(cls, shape, num_classes, keep, best):
        """Makes room for an answer of `shape = (H, W)`; `keep` and `best` are dtypes or None."""
        kept = None if keep is None else np.empty((*shape, num_classes), keep)
        best = None if best is None else np.empty(shape, best)
        return cls(np.empty(shape, np.uint8), kept, best)

    def class_map(self):
        """The most probable class at each pixel, uint8 `[H, W]`."""
        return self.mask

    def decided(self):
        """The class map, its probabilities or None, and what `certainty` says of these."""
        return self.mask, self.best, self.sums / self.mask.size

    def probabilities(self):
        """The class probabilities at each pixel, `[H, W, K]`."""
        return self.kept

    def add_scores(self, place, scores):
        """Fills in a tile's core."""
        for _, found, best in decide(scores):  # one block, as nothing is resized
            self.add(place, found, best)
        if self.kept is not None:
            self.kept[place] = scores

    def add(self, place, found, best):
        """Fills in the classes and their probabilities at some rows, or rows and columns."""
        self.mask[place] = found
        self.sums += certainty(best)
        if self.best is not None:
            self.best[place] = best


def certainty(best):
    """The sum of the highest probabilities, and how many are below `UNSURE`, float64 `[2]`."""
    return np.array([cv2.sumElems(best)[0], np.count_nonzero(best < UNSURE)])
