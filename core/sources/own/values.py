"""What the values of own masks mean, as far as they say it themselves."""

import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from core.config import IGNORE, VOC_CLASSES, default_names
from core.imaging.borders import in_one_piece
from core.imaging.image import read_indexed
from core.imaging.mask import (
    MANY,
    by_palette,
    count_values,
    find_clash,
    key,
    lossy,
    meanings,
    named,
    rgb_numbers,
    unknown,
)
from core.support.errors import UserError

ADVICE = (
    "Save class ids in all masks, as grey PNGs, or say which class each colour is in a classes.csv "
    "of name,r,g,b in the data's folder."
)
_MOST = 64  # values in a mask, or colours in all of them; more are noise
_OBJECTS = (
    "Each is one connected region, and masks differ in them: they seem to number objects. Give all "
    "objects of a class the same value, such as 1."
)


class Meaning(NamedTuple):
    """What the values of masks mean."""

    reading: str | tuple  # "ids", or what `core.imaging.mask.meanings` takes
    by_colour: bool  # whether the colours of palettes are the values, not their indices
    names: tuple  # the classes in the order of their ids
    palette: tuple = ()  # red, green and blue of each class; empty: VOC's
    notes: str = ""  # what else is to be said


def counted(masks: list, by_colour: bool) -> dict:
    """Returns the values of each mask by its path, those of palettes by index or by colour."""
    found = defaultdict(Counter)
    for path, counts, palette in masks:
        if by_colour and palette is not None:
            indices, counts = counts, Counter()
            colours = by_palette(np.array([[*indices]]), palette, path)[0].tolist()
            for (red, green, blue), pixels in zip(colours, indices.values(), strict=True):
                grey = red == green == blue
                counts[red if grey else f"#{red:02x}{green:02x}{blue:02x}"] += pixels
        found[path].update(counts)
    return found


def has_colours(masks: list) -> Path | None:
    """Returns the path of a mask that has colours without a palette, if there is one."""
    held = (path for path, counts, _ in masks if any(isinstance(v, str) for v in counts))
    return next(held, None)


def blurred(masks: list) -> bool:
    """Says whether masks are black and white, but for what JPEG makes of the edges.

    Of such masks, nearly all pixels are 0 or 255, and no value between is a frequent one.
    """
    if not all(lossy(path) for path, *_ in masks) or has_colours(masks):
        return False
    pixels = np.zeros(256)
    for _, counts, _ in masks:
        for value, count in counts.items():
            pixels[value] += count
    total, sure = pixels.sum(), pixels[[0, 255]]
    # A class would have one value, or about one: edges have all of them.
    low, high, between = pixels[1:24], pixels[232:255], np.convolve(pixels[24:232], np.ones(17))
    alone = (low.max(), low.sum()), (high.max(), high.sum()), (between.max(), between.sum() / 17)
    clear = all(most <= max(0.5 * every, 0.005 * total) for most, every in alone)
    return bool(clear and sure.all() and 0.85 * total < sure.sum() < total)


def understand(found: dict, num_classes: int, where) -> str:
    """Decides how masks are to be read, from the values of each, see `count_values`, by its path.

    Returns:
        "ids": class ids, 255 is ignored (values outside the classes are refused later, mask by
        mask); "black-and-white": 255 is class 1; "colours": those of VOC's classes.

    Raises:
        UserError: if the values do not tell; it names `where`, the masks' folder.
    """
    coloured = [path for path, counts in found.items() if any(isinstance(v, str) for v in counts)]
    if coloured:
        known = {k: i for k, i in meanings("colours").items() if i < num_classes or i == IGNORE}
        for path, counts in found.items():
            wrong, _ = unknown({path: counts}, known)
            if wrong:
                raise UserError(
                    f"{path}: has {named(wrong)}, not VOC's colours for {num_classes} classes, "
                    f"and {coloured[0]} has colours. {lossy(path) or ADVICE}"
                )
        return "colours"
    black = [path for path, counts in found.items() if set(counts) in ({0, IGNORE}, {IGNORE})]
    ids = [path for path, counts in found.items() if 1 in counts]
    if num_classes == 2 and black and ids and not any(IGNORE in found[path] for path in ids):
        raise UserError(
            f"{black[0]}: holds 0 and 255, but {ids[0]} holds 0 and 1. Are the masks black and "
            "white, or class ids with 255 ignored? Make all masks alike."
        )
    values = set().union(*found.values())
    if values - {0, IGNORE}:
        return "ids"
    if values == {0, IGNORE} and num_classes == 2:
        return "black-and-white"
    held = " and ".join(map(str, sorted(values)))
    advice = "Objects need the ids of their classes, 1 and up."
    if len(values) == 2:
        held += f", and there are {num_classes} classes"
        advice += " If they are black and white, add --num-classes 2."
    raise UserError(f"{where}: the masks hold nothing but {held}. {advice}")


def by_values(masks: list, files: list, where: Path) -> Meaning:
    """Finds the classes: each value that masks hold is one. Its `notes` say what 255 is.

    Args:
        masks: path, values and palette of each mask, see `core.imaging.mask.find_clash`.
        files: the path and page of each.
        where: the masks' folder, for messages.

    Raises:
        UserError: if the values are too many to be classes, or only one.
    """
    clash = find_clash(masks)
    by_colour = bool(clash or has_colours(masks))
    found = counted(masks, by_colour)
    values = set().union(*found.values())
    ids = sorted(value for value in values if value != IGNORE and isinstance(value, int))
    palette, white = (), f"{IGNORE} is ignored. "
    if any(isinstance(value, str) for value in values):
        reading = _by_colours({key(value) for value in values})
        names = tuple("background" if k == key(0) else k for k, i in reading if i != IGNORE)
        palette = tuple(tuple(bytes.fromhex(k[1:])) for k, i in reading if i != IGNORE)
        _refuse_noise(found, files, len(values))
    elif values <= {0, IGNORE} or ids[0] == 0 and ids[-1] < 1.5 * len(ids):
        _refuse_noise(found, files, 0)
        count = max(2, 1 + (ids or [0])[-1])
        names, reading = default_names(count), understand(found, count, where)
    else:  # values such as 1, 2, 3 or 0, 7, 26, where 255 is ignored, or 0, 128, 255
        counted_from_1 = ids[0] == 1 and ids[-1] <= 1.5 * len(ids)
        levels = ids if counted_from_1 or not _spread(values) else sorted(values)
        reading = tuple((key(value), number) for number, value in enumerate(levels))
        reading += ((key(IGNORE), IGNORE),) if IGNORE not in levels else ()
        names = tuple(f"class{value}" if value else "background" for value in levels)
        white = f"{IGNORE} is {'a class, too' if IGNORE in levels else 'ignored'}. "
        _refuse_noise(found, files, len(values))
    if not 2 <= len(names):
        held = named(Counter(dict.fromkeys(values, 1)))
        raise UserError(f"{where}: the masks hold nothing but {held}. They need two classes.")
    white = white if {*ids, IGNORE} == values and len(values) > 2 else ""
    return Meaning(reading, by_colour, names, palette, white)


def _spread(values):
    """Whether values lie evenly between black and white, as greys do and ids do not."""
    steps = np.diff(sorted(values))
    return steps.max() <= 4 * steps.min()


def _by_colours(colours):
    """Numbers colours: those of VOC in its order, others by red, green and blue, black first."""
    voc, ignored = meanings("colours"), set()
    if all(voc.get(colour) in (*range(len(VOC_CLASSES)), IGNORE) for colour in colours):
        ignored = {colour for colour in colours if voc[colour] == IGNORE}
    else:
        voc = {}
    order = sorted(colours - ignored, key=lambda colour: (voc.get(colour), colour))
    pairs = [(colour, number) for number, colour in enumerate(order)]
    return (*pairs, *((colour, IGNORE) for colour in ignored))


def _refuse_noise(found, files, total):
    """Refuses values that are no classes: those of JPEG files, soft edges or numbered objects.

    `total` is how many classes other values than ids would be.
    """
    path, *others = sorted(found, key=lambda path: -len(found[path]))
    jpeg = next(filter(None, map(lossy, found)), "")
    cause, most = jpeg if total > 2 else "", max(total, len(found[path]))
    if not jpeg and len(found[path]) > 4:
        of_path = dict(files)
        masks = [read_indexed(name, of_path[name])[0] for name in (path, *others[:4])]
        plain = (mask if mask.ndim == 2 else rgb_numbers(mask) for mask in masks)
        if (most <= _MOST or others) and _vary(found) and all(map(in_one_piece, plain)):
            cause = _OBJECTS
        elif most > _MOST or _has_soft_edges(masks[0]):
            cause = MANY
    elif most > _MOST:
        cause = jpeg or MANY
    if cause:
        raise UserError(
            f"{path}: has {len(found[path])} values: {named(found[path])}. {cause} If they are "
            "classes after all, say so by --num-classes or --class-table."
        )


def _vary(found):
    """Whether masks hold other values from one to the next, as numbers of objects do.

    Of classes, a mask has this or that one. Of objects, it has as many as there are: the first of
    those that a mask with more of them has, or in the next frame of a film new ones. In eight masks
    or more, their number varies; where it does not, values are the layers of a tissue or the like.
    """
    held = {frozenset({*counts} - {0, "#000000", IGNORE}) for counts in found.values()}
    held = sorted(held, key=len)
    if len(held) == 1 and len(found) < 8:
        ids = sorted(value for value in held[0] if isinstance(value, int))
        return len(ids) > 3 and ids == [*range(ids[0], ids[-1] + 1)]
    nested = all(few <= more for few, more in itertools.pairwise(held))
    varied = len(held) >= (4 if len(found) >= 8 else 2)
    return nested and varied or len(frozenset.union(*held)) > 2 * len(held[-1])


def _has_soft_edges(mask):
    """Whether values between the two commonest lie where these meet, as smoothing leaves them."""
    mask = cv2.cvtColor(mask, cv2.COLOR_RGB2GRAY) if mask.ndim == 3 else mask
    counts = count_values(mask)
    if len(counts) < 5 or max(counts) <= len(counts):  # ids, one after the other, are classes
        return False
    low, high = sorted(value for value, _ in counts.most_common(2))
    between = (low < mask) & (mask < high)
    around = np.ones((3, 3), np.uint8)
    edge = (cv2.erode(mask, around) < mask) & (mask < cv2.dilate(mask, around))
    return len(np.unique(mask[between])) > 2 and edge[between].mean() > 0.9
