"""Images through a model, in memory."""

import dataclasses
import itertools
import math
from collections import deque

import numpy as np
from tqdm import tqdm

from core.imaging.letterbox import decide, letterbox, undo_letterbox
from core.imaging.tiles import OnTiles, core_of, cut, places, surround
from nets.reach import geometry, unpadded

TILE_BUDGET = 3 * 2**24  # pixels of a batch of tiles, times the filters of the first level


@dataclasses.dataclass
class OnCanvas:
    """What the network says of an image that was fitted into the canvas."""

    scores: np.ndarray  # class probabilities on the canvas, float32 `[height, width, K]`
    shape: tuple  # the image's own height and width
    keep_best: bool = False  # whether the highest probabilities are of use

    def class_map(self):
        """The most probable class at each of the image's own pixels, uint8 `[H, W]`."""
        return self.decided()[0]

    def decided(self):
        """The class map, its probabilities or None, and what `certainty` says of these."""
        answer = OnTiles.empty(self.shape, 0, None, np.float32 if self.keep_best else None)
        for rows, mask, best in decide(self.scores, self.shape):
            answer.add(rows, mask, best)
        return answer.decided()

    def probabilities(self):
        """The class probabilities at the image's own pixels, float32 `[H, W, K]`."""
        return undo_letterbox(self.scores, self.shape)


def predict(model, images, config, *, tile=False, tta=False, batch_size=8, keep=None, best=False):
    """Runs images of any sizes through a model, in batches of one shape.

    Args:
        model: from `load_model`.
        images: iterable of uint8 `[H, W, C]`.
        config: the model's `Config`.
        tile: whether to cut images into tiles, instead of fitting them into the canvas.
        tta: whether to average over the ways up that training has shown: all, or upright.
        batch_size: canvases in a batch, or tiles, as far as memory goes.
        keep: with tiles, the dtype to keep probabilities in; None keeps only the classes.
        best: whether to keep the highest probabilities.

    Returns:
        An iterator with an `OnCanvas` or `OnTiles` for each image, in order.
    """
    if tile:
        best = np.float16 if best else None
        return _on_tiles(model, images, config, tta, batch_size, keep, best)
    return _on_canvas(model, images, config, tta, batch_size, best)


def answers(model, entries, config, **options):
    """Yields each entry, a tuple that begins with an image, and what `predict` says of it."""
    waiting = deque()  # what the network has been given and not yet answered

    def images():
        for entry in entries:
            waiting.append(entry)
            yield entry[0]

    for answer in predict(model, images(), config, **options):
        yield waiting.popleft(), answer


def _on_canvas(model, images, config, tta, batch_size, best):
    """Fits images into the canvas; the last batch is filled up, so that all have one shape."""
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
            yield OnCanvas(scores_of_image, image.shape[:2], best)


def _on_tiles(model, images, config, tta, batch_size, keep, best):
    """Cuts images into tiles; tiles of one shape share batches, also those of two images."""
    needs = geometry(model)
    longest = math.isqrt(TILE_BUDGET // config.filters)

    def tiles():
        for image in images:
            answer = OnTiles.empty(image.shape[:2], config.num_classes, keep, best)
            parts = places(image.shape, needs, longest)
            for place in tqdm(parts, "tiles", leave=False, disable=None if parts[8:] else True):
                yield answer, place, place is parts[-1], cut(image, place)

    for shape, group in itertools.groupby(tiles(), key=lambda entry: entry[-1].shape):
        fitting = TILE_BUDGET // (config.filters * shape[0] * shape[1])
        while part := list(itertools.islice(group, max(1, min(batch_size, fitting)))):
            scores = _run(model, np.stack([tile for *_, tile in part]), config, tta)
            for (answer, place, last, _), scores_of_tile in zip(part, scores, strict=True):
                answer.add_scores(place.core, core_of(scores_of_tile, needs, place))
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
