"""What the values of masks mean: class ids, black and white, or VOC's colours."""

from collections import Counter

import cv2
import numpy as np

from core.config import IGNORE
from core.imaging.draw import voc_palette
from core.support.errors import UserError

_MANY = 40  # values or colours that are named no more one by one


class WrongValues(UserError):
    """A mask has values outside the classes; `counts` says which, see `count_values`."""

    kind = "with values outside the classes"

    def __init__(self, path, counts, num_classes):
        super().__init__(f"{path}: {explain(counts, num_classes)}")
        self.counts = counts


def pack(colours):
    """Returns colours `[..., 3]` as single numbers, int32: red, green and blue a byte each."""
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def histogram(mask):
    """Counts the pixels of each value, int64 `[256]`.

    Args:
        mask: uint8 `[H, W]`.
    """
    rows = max(1, 2**20 // mask.shape[1])  # OpenCV counts in float32, exactly up to 2^24
    parts = (mask[first : first + rows] for first in range(0, len(mask), rows))
    return sum(
        cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.int64) for part in parts
    )


def grey(values):
    """Returns a mask's values, `[H, W]`, if it has no colours or but greys; None if it has.

    Args:
        values: uint8 `[H, W]` or `[H, W, 3]`.
    """
    if values.ndim == 2:
        return values
    same = (values[..., 0] == values[..., 1]) & (values[..., 0] == values[..., 2])
    return values[..., 0] if same.all() else None


def count_values(values):
    """Counts the values of a mask: greys by number, colours as `#rrggbb`."""
    plain = grey(values)
    if plain is not None:
        counts = histogram(np.ascontiguousarray(plain))
        return Counter({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
    found, counts = np.unique(pack(values), return_counts=True)
    return Counter(
        {f"#{colour:06x}": int(count) for colour, count in zip(found, counts, strict=True)}
    )


def understand(found, num_classes, where):
    """Decides how masks are to be read.

    Args:
        found: a dictionary of each mask's values, see `count_values`, by its path.
        num_classes: number of classes, background included.
        where: the masks' folder, for the message.

    Returns:
        "ids": the values are class ids, 255 is ignored (values beyond are left to be named mask by
        mask); "black-and-white": 255 is class 1; "colours": the classes have VOC's colours.

    Raises:
        UserError: if it cannot be told.
    """
    coloured = [path for path, counts in found.items() if any(isinstance(v, str) for v in counts)]
    if coloured:
        _insist_on_colours(found, num_classes, coloured[0])
        return "colours"
    values = set().union(*found.values())
    if num_classes == 2:
        _insist_on_one_kind(found)
    if values - {0, IGNORE}:
        return "ids"
    if values == {0, IGNORE} and num_classes == 2:
        return "black-and-white"
    if values == {0, IGNORE}:
        raise UserError(
            f"{where}: the masks hold nothing but 0 and 255, and there are {num_classes} classes. "
            "If they are black and white, add --num-classes 2; else save class ids, 1 and up."
        )
    raise UserError(
        f"{where}: the masks hold nothing but {', '.join(map(str, sorted(values)))}. Objects need "
        "the ids of their classes, 1 and up."
    )


def _insist_on_colours(found, num_classes, coloured):
    """Refuses masks with other colours than those of VOC's classes."""
    palette = voc_palette()[[*range(num_classes), IGNORE]]
    known = {f"#{colour:06x}" for colour in pack(palette)}
    known |= {int(colour[0]) for colour in palette if len(set(colour.tolist())) == 1}  # greys
    for path, counts in found.items():
        wrong = Counter({value: number for value, number in counts.items() if value not in known})
        if wrong:
            raise UserError(
                f"{path}: has {_named(wrong)}, not VOC's colours for {num_classes} classes, and "
                f"{coloured} has colours. Save class ids in all masks, as grey or palette PNGs."
            )


def _insist_on_one_kind(found):
    """Refuses masks of 0 and 255 among others of 0 and 1."""
    black = [path for path, counts in found.items() if set(counts) in ({0, IGNORE}, {IGNORE})]
    ids = [path for path, counts in found.items() if 1 in counts]
    if black and ids and not any(IGNORE in found[path] for path in ids):
        raise UserError(
            f"{black[0]}: holds 0 and 255, but {ids[0]} holds 0 and 1: black and white, or ids of "
            "which 255 is ignored? Make all masks alike."
        )


def explain(counts, num_classes):
    """Says what is wrong with values outside the classes, and what they suggest.

    Args:
        counts: of a mask or of all, see `count_values`; all greys.
        num_classes: number of classes, background included.
    """
    wrong = Counter({v: n for v, n in counts.items() if v >= num_classes and v != IGNORE})
    message = (
        f"pixel value {_named(wrong)} is neither a class (0..{num_classes - 1}) nor {IGNORE} "
        "(ignored). "
    )
    levels = sorted(counts)
    steps = set(np.diff(levels))
    if set(wrong) == {num_classes}:
        return message + (
            f"The ids seem to be off by one: {num_classes} classes have the ids 0 to "
            f"{num_classes - 1}, 0 being the background. Count from 0, or name one class more."
        )
    if len(levels) > max(_MANY, num_classes):
        return message + (
            "So many values come from a JPEG file, from resizing with interpolation or from "
            "anti-aliased edges. Save ids as PNG and resize with nearest neighbour."
        )
    if 2 < len(levels) <= num_classes and levels[0] == 0 and len(steps) == 1:
        return message + f"The ids seem to be spread over the greys: divide by {steps.pop()}."
    return message + "Write class ids into the mask, or name all classes."


def nothing_to_learn(pixels, num_classes, where):
    """Returns a UserError if masks say too little to learn from, else None.

    Args:
        pixels: of each value in all masks, `[256]`.
        num_classes: number of classes, background included.
        where: the data set, for the message.
    """
    if not pixels[:IGNORE].any():
        what = f"hold nothing but {IGNORE}, which means ignored"
    elif not pixels[1:num_classes].any():
        what = f"hold no object, only 0{' and 255' if pixels[IGNORE] else ''}"
    else:
        return None
    return UserError(
        f"{where}: all masks {what}. Objects need the ids of their classes, 1 and up. (Black and "
        "white masks, 0 and 255, can be used as they are in images/ and masks/, see README.md.)"
    )


def to_ids(values, reading, path):
    """Turns a mask into class ids, uint8 `[H, W]`.

    Args:
        values: uint8 `[H, W]` or `[H, W, 3]`.
        reading: what `understand` returns.
        path: the mask's file, for the message.

    Raises:
        UserError: if it cannot be read so.
    """
    plain = grey(values)
    if reading == "colours" and (plain is None or plain.any()):
        colours = pack(voc_palette())
        order = np.argsort(colours)
        seen = pack(np.broadcast_to(values.reshape(*values.shape[:2], -1), (*values.shape[:2], 3)))
        ids = order[np.searchsorted(colours, seen, sorter=order).clip(max=255)]
        if (colours[ids] != seen).any():
            raise UserError(f"{path}: has colours that are not VOC's. Save class ids instead.")
        return ids.astype(np.uint8)
    if plain is None:
        raise UserError(
            f"{path}: a mask must hold one class id a pixel, but this file has colours. Save it as "
            "an 8-bit grey or palette PNG of ids."
        )
    if reading == "black-and-white":
        if not np.isin(plain, (0, 255)).all():
            raise UserError(
                f"{path}: holds other values than 0 and 255, unlike the other masks, which are "
                "black and white. Make them alike."
            )
        return (plain == 255).astype(np.uint8)
    return plain


def _named(wrong):
    """The commonest of some values."""
    shown = ", ".join(str(value) for value, _ in wrong.most_common(4))
    return f"{shown} and {len(wrong) - 4} others" if len(wrong) > 4 else shown
