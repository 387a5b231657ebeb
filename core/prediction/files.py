"""From images in files, through a model, to masks and overlays in files."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from core.config import BACKGROUND
from core.imaging import draw
from core.imaging.image import ORIENTATION, TURNED, count_pages, read_values
from core.imaging.letterbox import halved, halves, letterbox, placement
from core.imaging.tiles import UNSURE
from core.prediction.inputs import Intensity
from core.prediction.objects import find_objects
from core.prediction.outputs import Drawn, Outputs, Page, check_name
from core.prediction.predict import OnCanvas, answers
from core.prediction.sheets import fitted
from core.support.errors import UserError, one_line
from core.support.threads import mapped

_COLOURED = ("RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")  # of Pillow's modes
_JPEGS = ("JPEG", "MPO")  # the second is what many phones write
_NAMED = 0.0005  # the least share of a class that the terminal and the legend name
_CELL = 400  # the width of an image in uncertain.png, in pixels


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be written, and how: the fields are flags of predict.py."""

    alpha: float = 0.5
    overlay_size: int = 2048
    probabilities: bool = False
    objects: bool = False
    min_area: int | None = None
    uncertain: int | None = None

    def check(self, names: Sequence[str]) -> None:
        """Raises a UserError for a least area that has no meaning for classes of such names."""
        if self.min_area and not self.objects:
            raise UserError("--min-area goes with --objects. Add that flag.")
        if self.min_area and names[0].lower() not in BACKGROUND:
            raise UserError(
                "--min-area lets small objects become background, which is none of the model's "
                f"classes ({', '.join(names)}). Leave it out: objects.csv has the areas."
            )


def predict_files(
    model,
    config,
    palette,
    sources,
    output,
    failures,
    *,
    intensity=(None,),
    wanted=Wanted(),
    **options,
):
    """Predicts files; reading and drawing go on beside the network.

    Args:
        model: from `load_model`.
        config: the model's `Config`.
        palette: `[K, 3]`, the classes' colours.
        sources: iterable of `Source`.
        output: the folder for the predictions, a Path.
        failures: a dictionary that receives, by path, the UserErrors of files that cannot be read.
        intensity: the arguments of `Intensity`.
        wanted: what to write.
        options: `tile`, `tta` and `batch_size` of `predict`.

    Yields:
        For each image, once its files are written, a line that says which classes it has.

    Raises:
        UserError: if the predictions cannot be written.
    """
    options["keep"] = np.float16 if wanted.probabilities else None
    options["best"] = wanted.objects or bool(wanted.uncertain)
    ahead = 1 if options.get("tile") else options.get("batch_size", 8)  # large ones wait singly
    intensity = Intensity(*intensity)
    size = None if options.get("tile") else config.size
    most = max(wanted.overlay_size, 3 * _CELL if wanted.uncertain else 0)
    seen = {"size": size, "most": most}
    read = functools.partial(_read, intensity, seen, channels=config.channels, failures=failures)
    drawing = functools.partial(_draw, names=config.names, palette=palette, wanted=wanted)
    entries = filter(None, mapped(read, _pages(sources, failures, intensity), ahead))
    drawn = mapped(drawing, answers(model, entries, config, **options), ahead)
    with contextlib.closing(Outputs(output, wanted.uncertain)) as outputs:
        for (source, count), pages in itertools.groupby(drawn, lambda drawn: drawn.page[:2]):
            yield from outputs.write(source, count, pages)
        outputs.draw_uncertain(config.names, palette)
    intensity.close()


def _pages(sources, failures, intensity):
    """The pages of all files, as far as those can be opened."""
    for source in sources:
        try:
            count = count_pages(source.path)
            check_name(source, count)
            intensity.look(source.path)
        except UserError as error:
            failures[source.path] = error
        else:
            yield from (Page(source, count, number) for number in range(count))


def _seen(image, shape, size, most):
    """An image as the network sees it, and as it is shown, small enough, and its own shape.

    Without a canvas `size`, tiles are cut out of it later. Else no more than this is kept of it:
    images that wait for the network would take much memory. The image may be half of `shape`.
    """
    if size is None:
        return image, image, shape
    half = halved(image, size) if image.shape[:2] == shape else image
    shown = half if _shows(half.shape, most) else image
    return letterbox(half, size), _small(shown, most), shape


def _shows(shape, most):
    """Whether an image of such a shape is not much smaller than the overlay that is asked for."""
    return max(shape) >= 0.9 * most


def _half_is_enough(shape, size, most):
    """Whether neither the network nor the overlay needs more than half of an image."""
    return size is not None and halves(shape, size) and _shows([n // 2 for n in shape], most)


def _read(intensity, seen, page, channels, failures):
    """What `_seen` makes of a page, and the page; None if it or one before it cannot be read."""
    path = page.source.path
    if path not in failures:
        photograph, shape = _header(path) if page.count == 1 else (False, None)
        half = shape is not None and _half_is_enough(shape, **seen)
        try:
            image = intensity.read(path, page.number, channels, half)
        except UserError as error:
            failures.setdefault(path, error)
        else:
            page = page._replace(photograph=photograph)
            return *_seen(image, shape if half else image.shape[:2], **seen), page


def _header(path):
    """Whether each pixel of a file has its own colour, no grey or palette's; a JPEG's shape."""
    with contextlib.suppress(Exception), Image.open(path) as image:
        turned = image.getexif().get(ORIENTATION) in TURNED
        shape = image.size if turned else image.size[::-1]
        return image.mode in _COLOURED, shape if image.format in _JPEGS else None
    return False, None  # Pillow does not know it


def _draw(answered, names, palette, wanted):
    """Draws and encodes what is written for a page, a `Drawn`.

    `answered` is what `_read` returns, and what the network says of it, an `OnCanvas` or `OnTiles`.
    For the others see `predict_files`.
    """
    (_, image, shape, page), answer = answered
    if isinstance(answer, OnCanvas):
        answer.shape = shape  # what the network got was the canvas
    mask, best, certainty = answer.decided()
    background = names[0].lower() in BACKGROUND
    number = f":{page.number}" if page.count > 1 else ""
    counts, measured, labels, note, doubt = {}, [], {}, "", None
    if wanted.objects:
        found = find_objects(mask, int(background), len(names), wanted.min_area or 1)
        for rows in draw.blocks(mask) if found.smaller else ():
            mask[rows][found.labels[rows] == 0] = 0
        values, _ = read_values(page.source.path, page.number)
        measured = found.measured(names, values, best)
        counts = found.counts(names)
        labels = {"objects.tif": draw.encode_image(Image.fromarray(found.image()), "TIFF")}
        note = f"; objects: {len(measured):,}"
        note += f" ({found.smaller:,} smaller became background)" if found.smaller else ""
    shares = draw.class_shares(mask, names)
    named = [(name, share) for name, _, share in shares if share >= _NAMED]
    shown = ", ".join(f"{name} {share:.1%}" for name, share in named)
    mean, unsure = certainty = [round(value, 6) for value in certainty.tolist()]
    if wanted.uncertain:
        caption = f"{page.source.path.name}{number}: mean probability {mean:.3f}, "
        caption = one_line(f"{caption}{unsure:.1%} below {UNSURE}")
        doubt = mean, _doubt(image, mask, best, len(names)), caption
    painted = {name for name, _ in named} - {names[0] if background else None}
    key = [(name, palette[i]) for i, name in enumerate(names) if name in painted]
    laid = _laid(image, mask, palette, key, background, wanted, page.count == 1)
    return Drawn(
        page,
        _encoded(mask, laid, palette, page) | labels,
        answer.probabilities().astype(np.float16, copy=False) if wanted.probabilities else None,
        [(name, n, round(x, 6), counts.get(name, ""), *certainty) for name, n, x in shares],
        measured,
        one_line(f"{page.source.path}{number}: {shown}{note}"),
        doubt,
    )


def _laid(image, mask, palette, key, background, wanted, legend):
    """The overlay of an image, small enough; the pages of a stack, like it, have no legend."""

    def lay(image):
        small = mask
        if image.shape[:2] != mask.shape:
            way = cv2.INTER_NEAREST_EXACT
            small = cv2.resize(mask, image.shape[1::-1], interpolation=way)
        laid = draw.overlay(image, small, palette, wanted.alpha, background)
        return draw.legend(laid, *zip(*key, strict=True)) if legend and key else laid

    most = wanted.overlay_size
    small = _small(image, most)
    laid = lay(small)
    while (more := len(laid) - most) > 0:  # the legend may be more than there is room for
        small = _small(image, most, len(small) - more)
        laid = lay(small)
    return laid


def _small(image, width, height=None):
    """Shrinks an image to fit into a size, quicker than for a network to see."""
    size = height or width, width
    if size[0] >= len(image) and size[1] >= image.shape[1]:
        return image
    height, width = placement(image.shape, size)[2:]
    way = cv2.INTER_AREA if len(image) >= 2 * height else cv2.INTER_LINEAR
    image = cv2.resize(image, (width, height), interpolation=way)
    return image.reshape(height, width, -1)


def _encoded(mask, laid, palette, page):
    """The bytes of a mask and its overlay, by the ends of their files' names."""
    mask = draw.palette_image(mask, palette)
    if page.count > 1:
        shown = {"overlay.tif": draw.encode_image(laid, "TIFF")}
        return {"mask.tif": draw.encode_image(mask, "TIFF")} | shown
    if page.photograph:
        shown = {"overlay.jpg": draw.encode_image(laid, "JPEG")}
    else:
        shown = {"overlay.png": draw.encode_image(laid, photograph=True)}
    return {"mask.png": draw.encode_image(mask)} | shown


def _doubt(image, mask, best, num_classes):
    """An image, its mask and how uncertain that is, for a sheet."""
    doubt = np.empty((*mask.shape, 1), np.uint8)
    for rows in draw.blocks(mask):  # from 1, which is certain, to the least that can be highest
        doubt[rows, :, 0] = (1 - best[rows].astype(np.float32)) * 255 / (1 - 1 / num_classes)
    image, mask, doubt = (fitted(array, _CELL, mask.shape) for array in (image, mask, doubt))
    return image, mask, np.ascontiguousarray(doubt[..., 0])
