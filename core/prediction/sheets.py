"""Sheets of images: an image beside its truth, its prediction, and where the two differ."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from core.config import BACKGROUND, IGNORE
from core.imaging.draw import INK, PAPER, font, key, outlined, vivid

_WIDTHS = 320, 448  # of a cell at least, and at most
_GAP, _LINE, _SIZE = 8, 22, 14
# Colours that are told apart by the colour-blind, too (Okabe and Ito 2008).
_KINDS = {"missed": (0, 114, 178), "false": (230, 120, 0), "wrong class": (190, 60, 150)}
_PALE = (250, 240, 200)  # what is ignored


def compare(rows: Sequence[tuple], names: Sequence[str], palette: Sequence) -> np.ndarray:
    """Makes a sheet with images, their truth and prediction in outlines, and the errors.

    Args:
        rows: tuples of an image, uint8 `[H, W, C]`, truth and prediction, uint8 `[H, W]`, and a
            caption; 255 in the truth is ignored.
        names: the names of the K classes.
        palette: their colours, `[K, 3]`.

    Returns:
        The sheet, uint8 `[height, width, 3]`.
    """
    base, width = _base(names), cell_width(image for image, *_ in rows)
    lines, kinds, found = [], set(), set()
    for *arrays, caption in rows:
        image, truth, prediction = (fitted(array, width) for array in arrays)
        faded = np.uint8((image + image.mean(-1, keepdims=True)) / 2)  # lines stand out on grey
        cells = [image, *(_outlined(faded, mask, base, palette) for mask in (truth, prediction))]
        lines.append([(cell, caption * (not i)) for i, cell in enumerate(cells)])
        marked, seen = _errors(image, truth, prediction, base)
        lines[-1].append((marked, ""))
        kinds |= seen
        found.update(np.unique((truth, prediction)).tolist())
    suffix = "" if base is None or names[base].lower() in BACKGROUND else f" {names[1]}"
    entries = _legend(found, base, names, palette)
    for kind in (*_KINDS, "ignored"):
        if kind in kinds:
            name = kind + (suffix if kind in ("missed", "false") else "")
            entries.append((name, _KINDS.get(kind, _PALE)))
    return sheet(lines, ("image", "truth", "prediction", "errors"), entries)


def outlines(rows: Sequence[tuple], names: Sequence[str], palette: Sequence, columns: int = 4):
    """Makes a sheet with images and their masks in outlines, what is ignored in pale.

    A row is a tuple of an image, a mask and a caption, see `compare`.
    """
    base, width = _base(names), cell_width(image for image, *_ in rows)
    cells, found = [], set()
    for image, mask, caption in rows:
        mask = fitted(mask, width)
        cell, ignored = _outlined(fitted(image, width), mask, base, palette), mask == IGNORE
        cell[ignored] = cell[ignored] / 3 + np.multiply(_PALE, 2 / 3)
        cells.append((cell, caption))
        found.update(np.unique(mask).tolist())
    lines = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    entries = _legend(found, base, names, palette)
    return sheet(lines, (), entries + [("ignored", _PALE)] * (IGNORE in found))


def uncertain(rows: Sequence[tuple], names: Sequence[str], palette: Sequence) -> np.ndarray:
    """Makes a sheet with images, their predictions in outlines, and how uncertain these are.

    Args:
        rows: tuples of an image, uint8 `[H, W, 3]`, its prediction and the uncertainty of that, 0
            to 255, uint8 `[H, W]`, and a caption; two of them stand side by side.
        names: the names of the K classes.
        palette: their colours, `[K, 3]`.

    Returns:
        The sheet, uint8 `[height, width, 3]`.
    """
    base, cells, found = _base(names), [], set()
    for image, mask, doubt, caption in rows:
        found.update(np.unique(mask).tolist())
        heat = cv2.applyColorMap(doubt, cv2.COLORMAP_INFERNO)[..., ::-1]
        cells += [(_outlined(image, mask, base, palette), caption), (heat, "")]
    lines = [cells[i : i + 4] for i in range(0, len(cells), 4)]
    titles = ("prediction", "uncertainty") * len(lines[0])
    return sheet(lines, titles[: len(lines[0])], _legend(found, base, names, palette))


def _outlined(image, mask, base, palette):
    """Draws outlines, but neither of what is ignored nor of the class `base`."""
    return outlined(image, mask, palette, (IGNORE,) if base is None else (IGNORE, base))


def _legend(found, base, names, palette):
    """The classes whose outlines are drawn, with their colours."""
    return [(names[i], vivid(palette)[i]) for i in sorted(found - {IGNORE, base})]


def _base(names):
    """The class whose outlines are not drawn, since those of the others show it; None if none."""
    return 0 if names[0].lower() in BACKGROUND or len(names) == 2 else None


def _errors(image, truth, prediction, base):
    """Marks the errors on a paled image; also returns of which kinds they are."""
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    marked = np.uint8(255 - (255 - grey) * 0.4)
    wrong = (truth != prediction) & (truth != IGNORE)
    missed, false = wrong & (prediction == base), wrong & (truth == base)
    masks = dict(zip(_KINDS, (missed, false, wrong & ~missed & ~false), strict=True))
    masks["ignored"] = truth == IGNORE
    for kind, where in masks.items():
        marked[where] = _KINDS.get(kind, _PALE)
    return marked, {kind for kind, where in masks.items() if where.any()}


def cell_width(images) -> int:
    """Returns how many pixels wide the cells of a sheet are: as its images, but 320 to 448."""
    return int(np.median([image.shape[1] for image in images]).clip(*_WIDTHS))


def fitted(array: np.ndarray, width: int, shape: tuple | None = None) -> np.ndarray:
    """Scales an image `[H, W, C]` or mask `[H, W]`, uint8, to a cell; a mask to what is nearest.

    It keeps its proportions, or gets those of a `shape`, `(height, width)`. One that would be more
    than three times as high as wide is narrower.
    """
    shape = shape or array.shape
    scale = min(width / shape[1], 3 * width / shape[0])
    size = [max(1, round(scale * side)) for side in shape[1::-1]]
    if array.ndim == 2:
        return cv2.resize(array, size, interpolation=cv2.INTER_NEAREST_EXACT)
    resized = cv2.resize(
        array, size, interpolation=cv2.INTER_AREA if size[1] < len(array) else cv2.INTER_LINEAR
    )
    return np.broadcast_to(resized.reshape(*size[::-1], -1), (*size[::-1], 3))


def sheet(rows: Sequence[Sequence[tuple]], titles: Sequence[str] = (), entries: Sequence = ()):
    """Puts images side by side, as uint8 `[height, width, 3]`.

    Args:
        rows: for each row its cells, tuples of a uint8 image `[H, W, 3]` and the caption above it.
        titles: of the columns.
        entries: of a legend, tuples of name and colour.
    """
    columns = max(map(len, rows))
    wide = max(cell.shape[1] for row in rows for cell, _ in row)
    width = columns * (wide + _GAP) + _GAP
    above = key(entries, width, _SIZE)
    top = _GAP + (0 if above is None else len(above)) + (_LINE if titles else 0)
    heights = [max(cell.shape[0] for cell, _ in row) + _LINE + _GAP for row in rows]
    paper = Image.new("RGB", (width, top + sum(heights)), PAPER)
    draw = ImageDraw.Draw(paper)
    lefts = [_GAP + column * (wide + _GAP) for column in range(columns)]
    if above is not None:
        paper.paste(Image.fromarray(above), (0, 0))
    for left, title in zip(lefts, titles, strict=False):
        draw.text((left, top - 4), title, INK, font(_SIZE + 2), anchor="ld")
    for row, height in zip(rows, heights, strict=True):
        for number, (left, (cell, caption)) in enumerate(zip(lefts, row, strict=False)):
            room = wide if any(text for _, text in row[number + 1 :]) else width - left
            draw.text(
                (left, top + _LINE - 4), _shortened(caption, room), INK, font(_SIZE), anchor="ld"
            )
            paper.paste(Image.fromarray(np.ascontiguousarray(cell)), (left, top + _LINE))
        top += height
    return np.asarray(paper)


def _shortened(text, width):
    """Cuts a text to a width in pixels."""
    if font(_SIZE).getlength(text) <= width:
        return text
    while text and font(_SIZE).getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
