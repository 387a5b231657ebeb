"""Images for people: palette, overlay, contact sheet and curves; and writing them."""

import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.imaging.letterbox import letterbox, letterbox_mask
from core.support.files import replacing

_INK, _PALE, _PAPER = (40, 40, 40), (215, 215, 215), (255, 255, 255)
_CURVES = (("training", (31, 119, 180), 190), ("validation", (214, 108, 14), 95))


def voc_palette() -> np.ndarray:
    """Returns the colours of PASCAL VOC, uint8 `[256, 3]`: red, green, blue of every class id."""
    # Three bits of the id are one of each channel, from the channels' highest bit down.
    bits = np.arange(256)[:, None, None] >> np.arange(24).reshape(8, 3) & 1
    return np.packbits(bits.astype(np.uint8), axis=1)[:, 0]


def colorize(mask: np.ndarray, palette: Sequence) -> np.ndarray:
    """Shows a uint8 mask `[H, W]` in a palette `[K, 3]`, as uint8 `[H, W, 3]`; 255 as VOC does."""
    table = voc_palette()
    table[: len(palette)] = palette
    return table.take(mask, axis=0)


def overlay(
    image: np.ndarray, mask: np.ndarray, palette: Sequence, alpha=0.5, background=True
) -> np.ndarray:
    """Lays the classes' colours over an image, uint8 `[H, W, 3]`; a background stays as it is.

    The image is uint8 `[H, W, 3]` or `[H, W, 1]`, the mask uint8 `[H, W]`, the palette `[K, 3]`;
    `alpha` is the colours' opacity, 0 to 1; `background` says whether class 0 is one. Dark colours
    get as much white as brings their brightest channel to 128: they would look like shadows.
    """
    palette = np.array(palette, np.uint8)
    palette += 128 - palette.max(1, keepdims=True).clip(max=128)
    shown = np.empty((*mask.shape, 3), np.uint8)
    for rows in blocks(mask):  # so that temporary arrays do not grow with the image
        colours = np.ascontiguousarray(np.broadcast_to(image[rows], shown[rows].shape))
        cv2.addWeighted(colorize(mask[rows], palette), alpha, colours, 1 - alpha, 0, shown[rows])
        if background:
            cv2.copyTo(colours, np.uint8(mask[rows] == 0), shown[rows])
    return shown


def outlined(image: np.ndarray, mask: np.ndarray, palette: Sequence, longest=320) -> np.ndarray:
    """Draws a one-pixel outline round each region of a mask, in its class's colour, made bright.

    Arguments are as for `overlay`. The result, uint8 `[H, W, 3]`, is enlarged by a whole number, so
    that its longer side has about `longest` pixels. The commonest class has no outline of its own.
    """
    palette = np.array(palette, float)
    palette *= 255 / palette.max(1, keepdims=True).clip(min=1)
    times = max(1, round(longest / max(mask.shape)))
    shown = np.ascontiguousarray(np.broadcast_to(image, (*mask.shape, 3)))
    shown, mask = (array.repeat(times, 0).repeat(times, 1) for array in (shown, mask))
    inside = mask != np.bincount(mask.ravel()).argmax()
    edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    colours = colorize(mask, palette)
    shown[edge & inside] = colours[edge & inside]
    return shown


def grid(cells: Sequence[tuple], columns: int = 4) -> np.ndarray:
    """Puts images, uint8 `[H, W, 3]` of about one size, with their captions, side by side."""
    gap, line, font = 6, 20, ImageFont.load_default(13)
    height, width = np.max([image.shape[:2] for image, _ in cells], 0)
    columns = min(columns, len(cells))
    size = columns * (width + gap) + gap, -(-len(cells) // columns) * (height + line + gap) + gap
    sheet = Image.new("RGB", tuple(map(int, size)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(cells):
        row, column = divmod(number, columns)
        left, top = int(gap + column * (width + gap)), int(gap + row * (height + line + gap))
        sheet.paste(Image.fromarray(image), (left, top))
        draw.text((left, top + int(height) + 2), caption, _INK, font)
    return np.asarray(sheet)


def blocks(mask: np.ndarray) -> list[slice]:
    """Returns slices that divide a mask's rows into blocks of about a million pixels."""
    step = max(1, 2**20 // mask.shape[1])
    return [slice(first, first + step) for first in range(0, len(mask), step)]


def class_shares(mask: np.ndarray, names: Sequence[str]) -> list[tuple]:
    """Returns which classes a mask has, the largest first: tuples of name, pixels and share."""
    parts = (cv2.calcHist([mask[rows]], [0], None, [256], [0, 256]) for rows in blocks(mask))
    counts = sum(part.ravel()[: len(names)].astype(int) for part in parts)
    found = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    return [(names[i], int(counts[i]), counts[i] / mask.size) for i in found]


def contact_sheet(
    path: Path, rows: Sequence[tuple], names: Sequence[str], palette: Sequence, cell: int = 192
) -> None:
    """Writes a PNG with an image, its truth and its prediction in every row.

    A row is a uint8 image `[H, W, C]`, two masks `[H, W]` and a caption. Each is fitted into `cell`
    by `cell` pixels. The palette, `[K, 3]`, has a colour for each of the names.
    """
    font, gap, line = ImageFont.load_default(13), 6, 20
    lefts = [gap + column * (cell + gap) for column in range(3)]
    width = 3 * cell + 4 * gap
    names, palette = (*names, "ignored, padding"), (*map(tuple, palette), tuple(voc_palette()[255]))
    entries, x, y = [], gap, gap  # the legend, in as many lines as needed
    for name in names:
        needed = font.getlength(name) + 32
        if gap < x and x + needed > width - gap:
            x, y = gap, y + line
        entries.append((x, y))
        x += needed
    top = y + 2 * line
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + line + gap)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for (x, y), name, colour in zip(entries, names, palette, strict=True):
        draw.rectangle((x, y, x + 12, y + 12), colour, _INK)
        draw.text((x + 17, y - 1), name, _INK, font)
    for left, title in zip(lefts, ("image", "truth", "prediction"), strict=True):
        draw.text((left, top - line), title, _INK, font)
    for number, (image, *masks, caption) in enumerate(rows):
        y = top + number * (cell + line + gap)
        cells = [np.broadcast_to(letterbox(image, (cell, cell)), (cell, cell, 3))]
        cells += [colorize(letterbox_mask(mask, (cell, cell)), palette) for mask in masks]
        for left, pixels in zip(lefts, cells, strict=True):
            sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (left, y))
        draw.text((gap, y + cell + 2), caption, _INK, font)
    write_image(path, np.asarray(sheet))


def draw_curves(path: Path, history: Sequence[dict]) -> None:
    """Draws loss and mean IoU of training and validation by epoch as a PNG.

    Each epoch in `history` has "epoch", "loss", "val_loss", "miou" and "val_miou".
    """
    sheet = Image.new("RGB", (1000, 380), _PAPER)
    draw = ImageDraw.Draw(sheet)
    epochs = [row["epoch"] for row in history]
    for left, title, key in ((60, "loss", "loss"), (560, "mean IoU", "miou")):
        curves = [[row[column] for row in history] for column in (key, f"val_{key}")]
        _panel(draw, (left, 50, left + 420, 330), title, epochs, curves)
    write_image(path, np.asarray(sheet))


def _panel(draw, box, title, epochs, curves):
    """Draws axes and curves into `box = (left, top, right, bottom)`."""
    font = ImageFont.load_default(13)
    left, top, right, bottom = box
    first, last = epochs[0], max(epochs[-1], epochs[0] + 1)
    values = [value for curve in curves for value in curve if math.isfinite(value)]
    y_ticks = _ticks(min([0.0, *values]), max(values, default=0.0))

    def x_of(epoch):
        return left + (right - left) * (epoch - first) / (last - first)

    def y_of(value):
        return bottom - (bottom - top) * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    for tick in y_ticks:
        draw.line((left, y_of(tick), right, y_of(tick)), _PALE)
        draw.text((left - 8, y_of(tick)), f"{tick:g}", _INK, font, anchor="rm")
    for tick in _ticks(first, last):
        if tick % 1 == 0 and first <= tick <= epochs[-1]:
            draw.line((x_of(tick), bottom, x_of(tick), bottom + 4), _INK)
            draw.text((x_of(tick), bottom + 7), f"{tick:g}", _INK, font, anchor="mt")
    draw.line((left, top, left, bottom, right, bottom), _INK)
    draw.text((left, top - 32), title, _INK, ImageFont.load_default(16))
    draw.text(((left + right) / 2, bottom + 26), "epoch", _INK, font, anchor="mt")
    for (name, colour, offset), curve in zip(_CURVES, curves, strict=True):
        pairs = zip(epochs, curve, strict=True)
        points = [(x_of(epoch), y_of(value)) for epoch, value in pairs if math.isfinite(value)]
        draw.line(points, colour, 2)
        for x, y in points if len(points) <= 40 else points[-1:]:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), colour)
        x = right - offset
        draw.line((x, top - 22, x + 16, top - 22), colour, 3)
        draw.text((x + 21, top - 22), name, _INK, font, anchor="lm")


def _ticks(low, high):
    """Four to eight round numbers, the first at most `low` and the last at least `high`."""
    high = high if high > low else low + 1.0
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


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
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    if kind == "TIFF":
        image.save(file, kind, compression="tiff_adobe_deflate")
    elif kind == "JPEG":
        image.save(file, kind, quality=90, subsampling=0)  # colours as sharp as their outlines
    else:
        # Level 1 is quick; 6 takes four times as long and saves a few per cent.
        strategy = zlib.Z_HUFFMAN_ONLY if photograph else zlib.Z_DEFAULT_STRATEGY
        image.save(file, kind, compress_level=1, compress_type=strategy)
    return file.getvalue()


def write_image(path, image):
    """Writes an image as PNG, see `encode_image`; raises a UserError if that fails."""
    with replacing(path) as partial:
        partial.write_bytes(encode_image(image))
