"""The meaning of mask values: class ids, black and white, or colours and greys by a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from core.config import IGNORE
from core.imaging.borders import in_one_piece
from core.imaging.draw import blocks, voc_palette
from core.imaging.image import read_indexed
from core.support.errors import UserError

LOSSY = "JPEG-black-and-white"  # a reading: greys below 128 are class 0, others class 1
OTHERS = "others"  # in a reading, stands for all values that it does not have
MANY = (
    "So many values come from a JPEG file, from resizing with interpolation or from anti-aliased "
    "edges. Save ids as PNG and resize with nearest neighbour."
)


class WrongValues(UserError):
    """A mask, uint8 `[H, W]`, has values outside the classes.

    `counts` has its values, see `count_values`; `cause` says where they come from, if file or
    shapes tell.
    """

    kind = "with values outside the classes"

    def __init__(self, path, mask: np.ndarray, num_classes: int):
        self.counts = count_values(mask)
        self.cause = lossy(path) or numbered_objects(mask, self.counts, num_classes)
        super().__init__(f"{path}: {explain(self.counts, num_classes, self.cause)}")


def rgb_numbers(colours: np.ndarray) -> np.ndarray:
    """Returns uint8 colours `[..., 3]` as numbers 0xRRGGBB, int32 `[...]`."""
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def histogram(mask: np.ndarray) -> np.ndarray:
    """Counts the pixels of each value of a mask, uint8 `[H, W]`; returns int64 `[256]`."""
    parts = (mask[rows] for rows in blocks(mask))  # OpenCV counts in float32, exactly up to 2^24
    counts = (cv2.calcHist([part], [0], None, [256], [0, 256]) for part in parts)
    return sum(count.ravel().astype(np.int64) for count in counts)


def grey(values: np.ndarray) -> np.ndarray | None:
    """Returns `[H, W]` of a mask, uint8 `[H, W]` or `[H, W, 3]`; None if not all is grey."""
    if values.ndim == 2:
        return values
    red, green, blue = np.moveaxis(values, -1, 0)
    return red if np.array_equal(red, green) and np.array_equal(red, blue) else None


def count_values(values: np.ndarray) -> Counter:
    """Counts the values of a mask, see `grey`: greys by number, colours as `#rrggbb`."""
    plain = grey(values)
    if plain is None:
        found, counts = np.unique(rgb_numbers(values), return_counts=True)
        return Counter(dict(zip(map("#{:06x}".format, found), counts.tolist(), strict=True)))
    counts = histogram(np.ascontiguousarray(plain)).tolist()
    return Counter({value: count for value, count in enumerate(counts) if count})


def find_clash(masks: Iterable) -> str | None:
    """Says where an index has two colours, or a colour two indices; None if nowhere.

    Only values that occur count, and 255 does not: it means ignored, however it is shown.

    Args:
        masks: the path, the values that occur and the palette, see `read_indexed`, of each mask.
    """
    of_index, of_colour = {}, {}
    for path, values, palette in masks:
        for index in values if palette is not None else ():
            if index >= min(len(palette), IGNORE):
                continue
            colour = "#{:02x}{:02x}{:02x}".format(*palette[index])
            other, where = of_index.setdefault(index, (colour, path))
            if other != colour:
                return f"index {index} is {other} in {where}, and {colour} in {path}"
            other, where, theirs = of_colour.setdefault(colour, (index, path, palette))
            both = palette[index], palette[other:][:1], theirs[other], theirs[index:][:1]
            if other != index and len({entry.tobytes() for entry in both}) > 1:
                # Else both palettes have the colour in both places, and the index tells.
                return f"{colour} is index {other} in {where}, and {index} in {path}"
    return None


def check_palettes(masks: dict, where, remember=None) -> None:
    """Raises a UserError if palettes contradict each other.

    `masks` has `(path, page)` of those of each palette. Of several they are read, or `remember`ed.
    """

    def read(mask):
        def look():
            values, palette = read_indexed(*mask)
            return np.unique(values).tolist(), palette.tolist()

        infos = [{"mask_path": mask[0], "page": mask[1]}]
        return mask[0], *map(np.array, remember("palette", infos, look) if remember else look())

    places = sorted(set().union(*masks.values()))
    if len(masks) > 1 and (clash := find_clash(map(read, places))):
        raise UserError(f"{where}: {clash}. Save class ids in all masks, as grey PNGs.")


def by_palette(values: np.ndarray, palette: np.ndarray, path) -> np.ndarray:
    """Returns the colours, uint8 `[H, W, 3]`, that a palette shows indices `[H, W]` in."""
    if values.max() >= len(palette):
        raise UserError(f"{path}: has the index {values.max()}, but its palette ends before it.")
    return palette[values]


def lossy(path) -> str:
    """Returns advice if a mask's suffix is that of a JPEG file, else nothing."""
    if Path(path).suffix.lower() not in (".jpg", ".jpeg", ".jpe", ".jfif"):
        return ""
    return "A JPEG file does not keep ids: near edges it has values in between. Save masks as PNG."


def numbered_objects(mask: np.ndarray, counts: Counter, num_classes: int) -> str:
    """Returns advice if the ids of a mask number its objects, else nothing."""
    ids = sorted(set(counts) - {0, IGNORE})
    if len(ids) <= max(3, num_classes) or ids[-1] - ids[0] >= len(ids) or not in_one_piece(mask):
        return ""
    return (
        f"Each of the {len(ids)} ids from {ids[0]} on is one connected region: they seem to number "
        "objects. Give all objects of a class the id of the class, such as 1."
    )


def explain(counts: Counter, num_classes: int, cause: str = "") -> str:
    """Says which values, see `count_values`, are outside the classes, and suggests the cause."""
    wrong = Counter({v: n for v, n in counts.items() if v >= num_classes and v != IGNORE})
    advice = cause or _suggest(set(wrong), sorted(counts), num_classes)
    allowed = f"a class (0..{num_classes - 1}) nor {IGNORE} (ignored)"
    return f"pixel value {named(wrong)} is neither {allowed}. {advice}"


def _suggest(wrong, levels, num_classes):
    """What to do about some wrong values among all levels of a mask."""
    steps = set(np.diff(levels))
    if wrong == {num_classes}:
        return (
            f"The ids seem to be off by one: {num_classes} classes have the ids 0 to "
            f"{num_classes - 1}, 0 being the background. Count from 0, or name one class more."
        )
    if len(levels) > max(40, num_classes):  # so many are no class ids
        return MANY
    if 2 < len(levels) <= num_classes and levels[0] == 0 and len(steps) == 1:
        return f"The ids seem to be spread over the greys: divide by {steps.pop()}."
    middle = max(wrong)
    if {*levels} <= {0, middle, IGNORE} and (len(levels) == 3 or middle in (127, 128)):
        return (
            f"The three values 0, {middle} and 255 need the ids 0, 1 and 2 of three classes, or "
            f"0, 255 and 1 if {middle} means unknown."
        )
    return "Write class ids into the mask, or name all classes."


def check_objects(pixels: np.ndarray, num_classes: int, where) -> None:
    """Raises a UserError if masks hold no object; `pixels` `[256]` counts each of their values."""
    if pixels[1:num_classes].any():
        return
    held = f"hold no object, only 0{' and 255' if pixels[IGNORE] else ''}"
    if not pixels[:IGNORE].any():
        held = f"hold nothing but {IGNORE}, which means ignored"
    raise UserError(
        f"{where}: all masks {held}. Objects need the ids of their classes, 1 and up. (Black and "
        "white masks, 0 and 255, can be used as they are in images/ and masks/: docs/own-data.md.)"
    )


def to_ids(values: np.ndarray, reading: str | tuple, path) -> np.ndarray:
    """Turns a mask, uint8 `[H, W]` or `[H, W, 3]`, into class ids, uint8 `[H, W]`.

    Raises:
        UserError: if it cannot be read as `reading` says, see `meanings`.
    """
    if reading == "ids":
        plain = grey(values)
        if plain is None:
            raise UserError(
                f"{path}: a mask must hold one class id a pixel, but this file has colours. Save "
                "it as an 8-bit grey or palette PNG of ids."
            )
        return plain
    colours, ids, others = _lookup(reading)
    seen = np.arange(256) * 0x010101 if values.ndim == 2 else rgb_numbers(values)
    places = np.searchsorted(colours, seen).clip(max=len(colours) - 1)
    found = np.where(colours[places] == seen, ids[places], others)
    found = found[values] if values.ndim == 2 else found
    if found.max() > IGNORE:
        pixels, _ = unknown({path: count_values(values)}, meanings(reading))
        usual = {"black-and-white": "values than 0 and 255", "colours": "colours than VOC's"}
        raise UserError(
            f"{path}: has other {usual.get(reading, 'values than those of the classes')}: "
            f"{named(pixels)}. {lossy(path) or 'Make it like the other masks.'}"
        )
    return found.astype(np.uint8)


@lru_cache
def meanings(reading: str | tuple) -> dict[str, int]:
    """Returns the class id of each colour `#rrggbb` that masks may hold, greys among them.

    `reading` is "black-and-white", `LOSSY`, "colours" (those of VOC), or a tuple of pairs of a
    colour and its id. One of these may be `OTHERS`.
    """
    if reading == LOSSY:
        return {key(value): int(value > 127) for value in range(256)}
    if reading == "black-and-white":
        return {key(0): 0, key(255): 1}
    if reading == "colours":
        return {f"#{colour:06x}": i for i, colour in enumerate(rgb_numbers(voc_palette()))}
    return dict(reading)


@lru_cache
def _lookup(reading):
    """Sorted colours 0xRRGGBB, the id of each, and that of others, 256 if they have no meaning."""
    known = dict(meanings(reading))
    others = known.pop(OTHERS, 256)
    colours, ids = zip(*sorted((int(k[1:], 16), i) for k, i in known.items()), strict=True)
    return np.array(colours), np.array(ids), others


def key(value: int | str) -> str:
    """Returns a value of `count_values` as a colour, `#rrggbb`."""
    return value if isinstance(value, str) else f"#{value:02x}{value:02x}{value:02x}"


def unknown(found: dict, known: dict) -> tuple[Counter, dict]:
    """Finds the values, see `count_values`, of masks by path, that are not in `meanings`.

    Returns the pixels of each such value, and the paths of the masks that have it.
    """
    pixels, paths = Counter(), defaultdict(list)
    for path, counts in found.items():
        for value, count in counts.items():
            if key(value) not in known:
                pixels[value] += count
                paths[value].append(path)
    return pixels, paths


def named(wrong):
    """Names the commonest of some values."""
    shown = ", ".join(str(value) for value, _ in wrong.most_common(4))
    return f"{shown} and {len(wrong) - 4} others" if len(wrong) > 4 else shown
