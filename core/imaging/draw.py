"""Drawing on images for people: palettes, overlays, outlines and legends; and writing images."""

import functools
import io
import math
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.support.files import replacing

INK, PAPER = (40, 40, 40), (255, 255, 255)
_LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue look, after ITU-R BT.601
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# A JPEG's quality, and colours as sharp as their outlines.
_SHARP = [cv2.IMWRITE_JPEG_QUALITY, 90]
_SHARP += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
font = functools.cache(ImageFont.load_default)  # of a size in pixels


def voc_palette() -> np.ndarray:
    """Returns the colours of PASCAL VOC, uint8 `[256, 3]`: red, green, blue of every class id."""
    # Three bits of the id are one of each channel, from the channels' highest bit down.
    bits = np.arange(256)[:, None, None] >> np.arange(24).reshape(8, 3) & 1
    return np.packbits(bits.astype(np.uint8), axis=1)[:, 0]


def colorize(mask: np.ndarray, palette: Sequence) -> np.ndarray:
    """Shows a uint8 mask `[H, W]` in a palette `[K, 3]`, as uint8 `[H, W, 3]`; 255 as VOC does."""
    table = voc_palette()
    table[: len(palette)] = palette
    return cv2.applyColorMap(mask, table[:, None])  # table[mask], in a quarter of the time


def vivid(palette: Sequence) -> np.ndarray:
    """Returns a palette `[K, 3]` whose colours are seen on any image, uint8 `[K, 3]`.

    They get brighter, and then as much white or black as brings their luma to the middle of the
    scale, from 0 to 255 to about 90 to 170. So they lighten what is dark, and darken what is
    bright.
    """
    colours = np.array(palette, float).reshape(-1, 3)
    colours *= 2 - colours.max(1, keepdims=True) / 255
    luma = colours @ _LUMA
    colours += (90 + luma * 80 / 255 - luma)[:, None]
    return colours.clip(0, 255).round().astype(np.uint8)


def overlay(
    image: np.ndarray, mask: np.ndarray, palette: Sequence, alpha=0.5, background=True
) -> np.ndarray:
    """Lays the classes' colours over an image, uint8 `[H, W, 3]`; a background stays as it is.

    The image is uint8 `[H, W, 3]` or `[H, W, 1]`, the mask uint8 `[H, W]`, the palette `[K, 3]`,
    made `vivid`; `alpha` is the colours' opacity, 0 to 1; `background` says whether class 0 is one.
    Each region has an outline of one pixel, which is opaque.
    """
    palette = vivid(palette)
    shown = np.empty((*mask.shape, 3), np.uint8)
    shown[:] = image
    inside = _objects(mask) if background else slice(None)  # colours are mixed only there
    part, mask = shown[inside], mask[inside]
    for rows in blocks(mask):  # so that temporary arrays do not grow with the image
        under, colours = part[rows].copy(), colorize(mask[rows], palette)
        cv2.addWeighted(colours, alpha, under, 1 - alpha, 0, part[rows])
        first = max(0, rows.start - 1)  # the rows next to the block decide, too
        edges = _edges(mask[first : rows.stop + 1])[rows.start - first :][: len(under)]
        cv2.copyTo(colours, edges, part[rows])
        if background:
            cv2.copyTo(under, np.uint8(mask[rows] == 0), part[rows])
    return shown


def _objects(mask):
    """The rows and columns that hold all of a mask but its background, and one more on each side.

    Those next to an object decide where its outline is.
    """
    sides = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    ends = ((side[0], side[-1]) if len(side) else (0, 0) for side in sides)
    return tuple(slice(max(0, first - 1), last + 2) for first, last in ends)


def outlined(
    image: np.ndarray, mask: np.ndarray, palette: Sequence, hidden: Sequence[int]
) -> np.ndarray:
    """Draws only the outlines of an `overlay`; the classes in `hidden` have none.

    They are two pixels wide, unless the regions are so thin that little of them would be left.
    """
    shown = np.broadcast_to(image, (*mask.shape, 3)).copy()
    edges, objects = _edges(mask), ~np.isin(mask, hidden)
    if 8 * np.count_nonzero(edges[objects]) < np.count_nonzero(objects):
        edges = cv2.dilate(edges, _CROSS)
    return cv2.copyTo(colorize(mask, vivid(palette)), np.uint8(objects & (edges > 0)), shown)


def _edges(mask):
    """Marks the pixels that are next to one of another class, above, below or beside."""
    return cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _CROSS)


def legend(image: np.ndarray, names: Sequence[str], palette: Sequence) -> np.ndarray:
    """Adds a strip below an overlay, uint8 `[H, W, 3]`, that shows the classes' colours and names.

    Names and palette are those of the classes to show. Letters grow with the image, which is shown
    as a whole. An image too narrow for a name, or lower than two such strips, stays as it is.
    """
    height, width, _ = image.shape
    size = max(13, round(math.sqrt(height * width) / 45))
    strip = key(list(zip(names, vivid(palette), strict=True)), width, size)
    return image if strip is None or 2 * len(strip) > height else np.concatenate((image, strip))


def key(entries: Sequence[tuple], width: int, size: int = 13) -> np.ndarray | None:
    """Draws squares with names beside them, in as many lines as fit into the width, in pixels.

    The entries are tuples of name and colour. Returns uint8 `[H, width, 3]`; None if there are no
    entries, or a name is longer than a line.
    """
    gap, line, side = size // 2, size * 3 // 2, size * 9 // 10
    places, x, y = [], gap, gap
    for name, _ in entries:
        needed = side + 2 * gap + round(font(size).getlength(name))
        if x > gap and x + needed > width:
            x, y = gap, y + line
        if x + needed > width:
            return None
        places.append((x, y))
        x += needed + gap
    if not entries:
        return None
    strip = Image.new("RGB", (width, y + line), PAPER)
    draw = ImageDraw.Draw(strip)
    for (x, y), (name, colour) in zip(places, entries, strict=True):
        draw.rectangle((x, y, x + side, y + side), tuple(map(int, colour)), INK)
        draw.text((x + side + gap, y + side / 2), name, INK, font(size), anchor="lm")
    return np.asarray(strip)


def blocks(mask: np.ndarray) -> list[slice]:
    """Returns slices that divide a mask's rows into blocks of about a million pixels."""
    step = max(1, 2**20 // mask.shape[1])
    return [slice(first, first + step) for first in range(0, len(mask), step)]


def class_shares(mask: np.ndarray, names: Sequence[str]) -> list[tuple]:
    """Returns which classes a mask has, the largest first: tuples of name, pixels and share."""
    counts = np.zeros(256, int)
    for part in (mask[rows] for rows in blocks(mask)):
        if cv2.countNonZero(part):
            counts += cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(int)
        else:  # only background, which is seen in an eighth of the time
            counts[0] += part.size
    counts = counts[: len(names)]
    found = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    return [(names[i], int(counts[i]), counts[i] / mask.size) for i in found]


def palette_image(mask, palette):
    """Makes a `PIL.Image.Image` with uint8 class ids `[H, W]` as pixels, shown by a palette.

    The palette, `[N, 3]`, has red, green and blue of the ids from 0 on.
    """
    colours = np.zeros((256, 3), np.uint8)  # all 256: Pillow squeezes the ids into fewer bits else
    colours[: len(palette)] = palette
    image = Image.fromarray(mask)
    image.putpalette(colours.tobytes())
    return image


def encode_image(image, kind="PNG", photograph=False) -> bytes:
    """Returns the bytes of a PNG, of a JPEG, or of a page of a TIFF file, as `kind` says.

    The image is a `PIL.Image.Image` or a uint8 array `[H, W]` or `[H, W, 3]`. The PNG of a
    photograph is written without a search for repetitions, a third quicker; flat images would grow.
    Of a mask, only runs of one value are sought: its file is smaller by a quarter to two thirds.
    """
    if kind == "JPEG":  # OpenCV, other than Pillow, lets other threads go on meanwhile
        image = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", image, _SHARP)[1].tobytes()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    if kind == "TIFF":
        image.save(file, kind, compression="tiff_adobe_deflate")
    else:
        # Level 1 is quick; 6 takes four times as long and saves a few per cent.
        flat = zlib.Z_RLE if image.mode == "P" else zlib.Z_DEFAULT_STRATEGY
        strategy = zlib.Z_HUFFMAN_ONLY if photograph else flat
        image.save(file, kind, compress_level=1, compress_type=strategy)
    return file.getvalue()


def write_image(path, image):
    """Writes an image as PNG, see `encode_image`; raises a UserError if that fails."""
    with replacing(path) as partial:
        partial.write_bytes(encode_image(image))
