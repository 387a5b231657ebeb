"""Images through a model: in memory, and from files to masks and overlays in files."""

import contextlib
import dataclasses
import itertools
import math
import sys
from collections import deque

import numpy as np
from tqdm import tqdm

from core.imaging.draw import class_shares, overlay
from core.imaging.image import count_pages, read_image
from core.imaging.letterbox import class_map, letterbox, undo_letterbox
from core.imaging.tiles import core_of, cut, places, surround
from core.prediction.outputs import Files
from core.support.errors import UserError, one_line
from core.support.threads import mapped
from nets.reach import geometry, unpadded

TILE_BUDGET = 3 * 2**24  # pixels of a batch of tiles, times the filters of the first level


@dataclasses.dataclass
class OnCanvas:
    """What the network says of a picture that was fitted into the canvas.

    Attributes:
        scores: class probabilities on the canvas, float32 `[height, width, K]`.
        shape: the picture's own height and width.
    """

    scores: np.ndarray
    shape: tuple

    def class_map(self):
        """The most probable class at each of the picture's own pixels, uint8 `[H, W]`."""
        return class_map(self.scores, self.shape)

    def probabilities(self):
        """The class probabilities at the picture's own pixels, float32 `[H, W, K]`."""
        return undo_letterbox(self.scores, self.shape)


class OnTiles:
    """What the network says of a picture that was cut into tiles.

    Args:
        shape: the picture's own height and width.
        classes: K.
        keep: dtype to keep the probabilities in; None keeps only the most probable classes.
    """

    def __init__(self, shape, classes, keep):
        self._mask = np.empty(shape, np.uint8)
        self._kept = None if keep is None else np.empty((*shape, classes), keep)

    def put(self, place, scores):
        """Takes the probabilities of a core."""
        self._mask[place] = class_map(scores)
        if self._kept is not None:
            self._kept[place] = scores

    def class_map(self):
        """The most probable class at each pixel, uint8 `[H, W]`."""
        return self._mask

    def probabilities(self):
        """The class probabilities at each pixel, `[H, W, K]`, if they were to be kept."""
        return self._kept


def predict(model, images, config, *, tile=False, tta=False, batch_size=8, keep=None):
    """Runs pictures of any sizes through a model, in batches of one shape.

    Args:
        model: from `load_model`.
        images: iterable of uint8 `[H, W, C]`.
        config: the model's `Config`.
        tile: whether to cut pictures into overlapping tiles at their own resolution, instead of
            fitting them into the canvas.
        tta: whether to average over the ways up that training has shown: all, or upright.
        batch_size: canvases in a batch, or tiles, as far as memory goes.
        keep: with tiles, the dtype to keep probabilities in; None keeps only the classes.

    Yields:
        An `OnCanvas` or `OnTiles` for each picture, in order.
    """
    if tile:
        yield from _on_tiles(model, images, config, tta, batch_size, keep)
    else:
        yield from _on_canvas(model, images, config, tta, batch_size)


def _on_canvas(model, images, config, tta, batch_size):
    """Fits pictures into the canvas; the last batch is filled up, so that all have one shape."""
    images = iter(images)
    needs = geometry(model) if unpadded(model) else None
    height, width = config.size
    while part := list(itertools.islice(images, batch_size)):
        rows = [letterbox(image, config.size) for image in part]
        if needs:
            rows = [surround(row, needs) for row in rows]
        scores = _run(model, np.stack(rows + rows[-1:] * (batch_size - len(rows))), config, tta)
        scores = scores[:, :height, :width]  # an unpadded network's may reach beyond the canvas
        for image, scores_of_image in zip(part, scores, strict=False):
            yield OnCanvas(scores_of_image, image.shape[:2])


def _on_tiles(model, images, config, tta, batch_size, keep):
    """Cuts pictures into tiles; tiles of one shape share batches, also those of two pictures."""
    needs = geometry(model)
    longest = math.isqrt(TILE_BUDGET // config.filters)

    def tiles():
        for image in images:
            answer = OnTiles(image.shape[:2], config.num_classes, keep)
            cores = places(image.shape, needs, longest)
            for place in tqdm(cores, "tiles", leave=False, disable=None if cores[8:] else True):
                yield answer, place, place is cores[-1], cut(image, needs, place)

    for shape, group in itertools.groupby(tiles(), key=lambda entry: entry[-1].shape):
        fitting = TILE_BUDGET // (config.filters * shape[0] * shape[1])
        while part := list(itertools.islice(group, max(1, min(batch_size, fitting)))):
            scores = _run(model, np.stack([tile for *_, tile in part]), config, tta)
            for (answer, place, last, _), scores_of_tile in zip(part, scores, strict=True):
                mask = answer.class_map()
                answer.put(place, core_of(scores_of_tile, needs, place, mask.shape))
                if last:
                    yield answer


def _run(model, batch, config, tta):
    """Class probabilities of a batch `[B, H, W, C]`, float32 `[B, H, W, K]`."""
    if not tta:
        return model.predict_on_batch(batch)
    square = batch.shape[1] == batch.shape[2]
    turns = (0,) if config.upright else range(4) if square else (0, 2)
    total = 0
    for turn, mirror in itertools.product(turns, (1, -1)):
        view = np.rot90(batch[:, :, ::mirror], turn, (1, 2))
        scores = model.predict_on_batch(np.ascontiguousarray(view))
        total += np.rot90(scores, -turn, (1, 2))[:, :, ::mirror]
    return total / (2 * len(turns))


@dataclasses.dataclass
class Page:
    """A picture, or a page of a stack, on its way from its file to those of its prediction."""

    files: Files
    number: int
    image: np.ndarray | None = None

    @property
    def name(self):
        """What is printed for it."""
        number = f":{self.number}" if self.files.pages > 1 else ""
        return f"{self.files.source.path}{number}"


class _Unfinished(Exception):
    """Not all pages of a stack could be read."""


def predict_files(
    model,
    config,
    palette,
    sources,
    output,
    *,
    tile=False,
    tta=False,
    batch_size=8,
    alpha=0.5,
    probabilities=False,
    failures=None,
):
    """Predicts files; reading, drawing and writing go on beside the network.

    Args:
        model: from `load_model`.
        config: the model's `Config`.
        palette: `[K, 3]`, the classes' colours.
        sources: list of `core.prediction.inputs.Source`.
        output: the folder for the predictions, a Path.
        tile: whether to cut pictures into tiles, see `core.prediction.predict.predict`.
        tta: whether to average over mirror images and turns, see `inference.predict`.
        batch_size: pictures in a batch.
        alpha: opacity of the overlay.
        probabilities: whether to write class probabilities, too.
        failures: a dictionary that receives the UserErrors of the files that cannot be read.

    Yields:
        For each picture, once its files are written, a line that says which classes it has.
    """
    failures = {} if failures is None else failures
    taken = set()
    waiting = deque()  # pages that the network has been given and not yet answered
    ahead = 1 if tile else batch_size  # large pictures wait one by one

    def pages():
        for source in sources:
            try:
                count = count_pages(source.path)
                files = Files(output, source, count, palette, taken)
            except UserError as error:
                failures[source.path] = error
                continue
            yield from (Page(files, number) for number in range(count))

    def read(page):
        try:
            page.image = read_image(page.files.source.path, config.channels, page.number)
        except UserError as error:
            failures.setdefault(page.files.source.path, error)
        return page

    def images():
        for page in mapped(read, pages(), ahead):
            if page.files.source.path not in failures:
                waiting.append(page)
                yield page.image

    def answers():
        options = {"tile": tile, "tta": tta, "batch_size": batch_size}
        keep = np.float16 if probabilities else None
        for answer in predict(model, images(), config, keep=keep, **options):
            yield waiting.popleft(), answer

    def draw(answered):
        page, answer = answered
        mask = answer.class_map()
        drawn = [mask, overlay(page.image, mask, palette, alpha)]
        drawn.append(answer.probabilities() if probabilities else None)
        page.image = None
        if page.files.pages == 1:
            with page.files.open(probabilities) as write:
                write(*drawn)
            drawn = None
        return page, drawn, f"{page.name}: {class_shares(mask, config.names)}"

    drawn_pages = mapped(draw, answers(), ahead)
    for files, group in itertools.groupby(drawn_pages, key=lambda entry: entry[0].files):
        lines = []
        try:
            stack = files.open(probabilities) if files.pages > 1 else contextlib.nullcontext()
            with stack as write:
                for _, drawn, line in group:
                    if write:
                        write(*drawn)
                    lines.append(line)
                if files.source.path in failures:
                    raise _Unfinished
        except _Unfinished:
            continue
        if files.stem != files.source.path.stem:
            note = f"{files.source.path}: the files are {files.stem}_*, its own name being taken."
            tqdm.write(one_line(note), file=sys.stderr)
        yield from map(one_line, lines)
