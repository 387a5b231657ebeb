"""Charts: the curves of a training, and the confusion matrix."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from core.imaging.draw import INK, PAPER, font, vivid

_PALE, _BEST = (215, 215, 215), (40, 140, 60)
_CURVES = (("training", (31, 119, 180), 190), ("validation", (214, 108, 14), 95))
_LINE = 15  # from the label of one class to that of the next, in pixels
_LABELS = 21  # so many classes have a label


def draw_curves(history: Sequence[dict], best: int, classes: Sequence[tuple] = ()) -> np.ndarray:
    """Draws loss and mean IoU of training and validation by epoch, and the IoU of each class.

    Args:
        history: for each epoch "epoch", "loss", "val_loss", "miou" and "val_miou".
        best: the number of the best epoch, which is marked.
        classes: for each class its name, its colour and its validation IoU in each epoch; None
            where it is not known.

    Returns:
        The chart, uint8 `[H, W, 3]`.
    """
    classes = [row for row in classes if any(value is not None for value in row[2])]
    beside = max((font(13).getlength(f"{name} 0.00") for name, *_ in classes), default=0) + 50
    width = 1500 + round(beside) if classes else 1000
    sheet = Image.new("RGB", (width, 450), PAPER)
    draw = ImageDraw.Draw(sheet)
    epochs = [row["epoch"] for row in history]
    for left, title, key, height in ((60, "loss", "loss", 1), (560, "mean IoU", "miou", 0)):
        curves = [[row[column] for row in history] for column in (key, f"val_{key}")]
        panel = _Panel(draw, left, title, epochs, curves, log=key == "loss")
        for (name, colour, offset), curve in zip(_CURVES, curves, strict=True):
            panel.curve(curve, colour)
            x, y = panel.right - offset, panel.top - 22
            draw.line((x, y, x + 16, y), colour, 3)
            draw.text((x + 21, y), name, INK, font(13), anchor="lm")
        panel.mark(best, curves[1][epochs.index(best)], f"best epoch {best}: ", height)
    if classes:
        curves = [values for *_, values in classes]
        panel = _Panel(
            draw, 1060, "validation IoU of each class (right: last epoch)", epochs, curves
        )
        colours = [tuple(colour) for colour in vivid([c for _, c, _ in classes]).tolist()]
        for colour, curve in zip(colours, curves, strict=True):
            panel.curve(curve, colour)
        panel.mark(best)
        panel.label([name for name, *_ in classes], colours, curves)
    return np.asarray(sheet)


class _Panel:
    """Axes on which curves are drawn, `left` pixels from the left side of a sheet."""

    top, bottom = 50, 400

    def __init__(self, draw, left, title, epochs, curves, log=False):
        self.draw, self.epochs, self.left, self.right = draw, epochs, left, left + 420
        self.last = max(epochs[-1], epochs[0] + 1)
        values = [value for curve in curves for value in curve if _known(value)]
        low, high = min(values, default=0.0), max(values, default=0.0)
        log = log and 0 < 20 * low < high
        self.scale = math.log if log else float
        ticks = _powers(low, high) if log else _ticks(min(0.0, low), high)
        self.low, self.high = ticks[0], ticks[-1]
        for tick in ticks:
            draw.line((left, self.y(tick), self.right, self.y(tick)), _PALE)
            draw.text((left - 8, self.y(tick)), f"{tick:g}", INK, font(13), anchor="rm")
        for tick in _ticks(epochs[0], self.last):
            if tick % 1 == 0 and epochs[0] <= tick <= epochs[-1]:
                x = self.x(tick)
                draw.line((x, self.bottom, x, self.bottom + 4), INK)
                draw.text((x, self.bottom + 7), f"{tick:g}", INK, font(13), anchor="mt")
        draw.line((left, self.top, left, self.bottom, self.right, self.bottom), INK)
        draw.text((left, self.top - 32), title, INK, font(16))
        middle = (left + self.right) / 2
        draw.text((middle, self.bottom + 26), "epoch", INK, font(13), anchor="mt")

    def x(self, epoch):
        share = (epoch - self.epochs[0]) / (self.last - self.epochs[0])
        return self.left + (self.right - self.left) * share

    def y(self, value):
        low, value, high = map(self.scale, (self.low, value, self.high))
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)

    def curve(self, values, colour):
        """Draws a curve through the values that are known."""
        pairs = zip(self.epochs, values, strict=True)
        points = [(self.x(epoch), self.y(value)) for epoch, value in pairs if _known(value)]
        self.draw.line(points, colour, 2)
        for x, y in points if len(points) <= 40 else points[-1:]:
            self.draw.ellipse((x - 2, y - 2, x + 2, y + 2), colour)

    def mark(self, epoch, value=None, text="", height=0):
        """Marks an epoch, and if it has a value that; `height` is that of the text, 0 to 1."""
        x = self.x(epoch)
        for y in range(self.top, self.bottom, 8):
            self.draw.line((x, y, x, y + 3), _BEST)
        if not _known(value):
            return
        y = self.y(value)
        self.draw.ellipse((x - 5, y - 5, x + 5, y + 5), None, _BEST, 2)
        y = self.bottom - 14 - height * (self.bottom - self.top - 28)
        x, anchor = (x - 7, "rm") if x > (self.left + self.right) / 2 else (x + 7, "lm")
        text = f"{text}{value:.4f}"
        self.draw.text((x, y), text, _BEST, font(14), anchor, stroke_width=3, stroke_fill=PAPER)

    def label(self, names, colours, curves):
        """Writes names and last values beside the curves, the highest first."""
        ends = [next((v for v in reversed(curve) if v is not None), None) for curve in curves]
        order = sorted((i for i, end in enumerate(ends) if end is not None), key=lambda i: -ends[i])
        if len(order) > _LABELS:  # the best and the worst ones
            half = _LABELS // 2
            order = [*order[:half], *order[-half:]]
        places = _spread([self.y(ends[i]) for i in order], self.top, self.bottom)
        for i, y in zip(order, places, strict=True):
            self.draw.line((self.right + 4, self.y(ends[i]), self.right + 24, y), colours[i], 2)
            text = f"{names[i]} {ends[i]:.2f}"
            self.draw.text((self.right + 29, y), text, INK, font(13), anchor="lm")


def _known(value):
    return value is not None and math.isfinite(value)


def _spread(places, top, bottom):
    """Moves places that grow apart by a line each, and none beyond the bottom, if there is room."""
    shown = []
    for place in places:
        shown.append(max(place, shown[-1] + _LINE) if shown else max(place, top))
    limit = bottom
    for i in reversed(range(len(shown))):
        shown[i] = min(shown[i], limit)
        limit = shown[i] - _LINE
    return shown


def _ticks(low, high):
    """Four to eight round numbers, the first at most `low` and the last at least `high`."""
    high = high if high > low else low + 1.0
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def _powers(low, high):
    """Numbers 1, 2 and 5 times a power of ten, or powers alone where they span a long way."""
    factors = (1, 2, 5) if high < 1000 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max(tick for tick in ticks if tick <= low)
    last = min(tick for tick in ticks if tick >= high)
    return [tick for tick in ticks if first <= tick <= last]


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draws a confusion matrix, counts `[K, K]` with the truth in rows, as uint8 `[H, W, 3]`.

    Each row shows in per cent what the true pixels of a class were predicted as.
    """
    pixels = counts.sum(1)
    shares = counts / np.maximum(pixels, 1)[:, None]
    side = int(np.clip(900 // len(names), 14, 90))
    size = 14 if side > 20 else 10
    longest = round(max(font(size).getlength(name) for name in names))
    left, top = longest + 50, longest + 70
    sheet = Image.new("RGB", (left + side * len(names) + 20, top + side * len(names) + 20), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(names):
        middle = round((i + 0.5) * side)
        draw.text((left - 8, top + middle), name, INK, font(size), anchor="rm")
        _upright(sheet, (left + middle, top - 8), name, size)
        for j in range(len(names)):
            x, y, share = left + j * side, top + i * side, shares[i, j]
            # The root lets small confusions be seen.
            shade = np.sqrt(share)
            colour = (1 - shade) * np.array(PAPER) + shade * np.array((8, 48, 107))
            draw.rectangle((x, y, x + side, y + side), tuple(map(int, colour)), _PALE)
            text = f"{100 * share:.{int(side > 60)}f}" if pixels[i] else "-"
            if side >= 28 and (text == "-" or float(text)):
                ink = PAPER if shade > 0.6 else INK
                draw.text((x + side / 2, y + side / 2), text, ink, font(size), anchor="mm")
    middle = side * len(names) / 2
    draw.text((left + middle, 12), "prediction", INK, font(16), anchor="mt")
    _upright(sheet, (16, top + middle), "truth, in per cent of its pixels", 16, centred=True)
    return np.asarray(sheet)


def _upright(sheet, place, text, size, centred=False):
    """Writes a text from below to above: it ends, or has its middle, at a place."""
    box = font(size).getbbox(text)
    label = Image.new("RGB", (box[2] + 2, size * 3 // 2), PAPER)
    ImageDraw.Draw(label).text((0, label.height / 2), text, INK, font(size), anchor="lm")
    label = label.transpose(Image.Transpose.ROTATE_90)
    x, y = place
    y = y - label.height // 2 if centred else y - label.height
    sheet.paste(label, (round(x - label.width / 2), round(y)))
