"""Using a trained model: finding it, loading it, and running pictures through it."""

import dataclasses
import itertools
import math
import os
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.config import Config
from core.errors import UserError
from core.files import replacing
from core.letterbox import class_map, letterbox, undo_letterbox
from core.tiles import core_of, cut, geometry, places, surround, unpadded

CONFIG_NAME = "unet.json"  # the settings' name inside a .keras file, which is a zip archive
SHIPPED = Path(__file__).parents[1] / "weights" / "voc-animals.keras"
TILE_BUDGET = 3 * 2**24  # pixels of a batch of tiles, times the filters of the first level


def find_weights(path=None):
    """Returns the .keras file that is meant.

    Args:
        path: a .keras file, a run's folder, or None for the newest run below `runs/`, or the model
            for photographs that ships with the project where there is no run.

    Raises:
        UserError: if there is none.
    """
    if path is None:
        runs = sorted(Path("runs").glob("*/best.keras"), key=lambda file: file.stat().st_mtime)
        if not runs and not SHIPPED.is_file():
            raise UserError(
                f"There is no trained model in runs/, nor {SHIPPED}. Run train.py first, or name "
                "one with --weights."
            )
        return runs[-1] if runs else SHIPPED
    path = Path(path)
    file = path / "best.keras" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: there is no such file. Name a .keras file or a run's folder.")
    return file


def save_model(model, path, config, members=(), optimizer=None):
    """Saves a model with the settings it was made by; the file is still an ordinary .keras file.

    It is saved without its loss, so that Keras alone can load it, and computes in float32.

    Args:
        model: a `keras.Model`.
        path: the file.
        config: its `Config`.
        members: a dictionary of more texts to put into the file, by name.
        optimizer: one whose state is kept, too.
    """
    import keras

    from core.devices import portable

    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if optimizer:
        bare.optimizer = optimizer
    with replacing(path) as partial:
        with portable(bare):
            bare.save(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            for name, text in {CONFIG_NAME: config.to_json(), **dict(members)}.items():
                archive.writestr(name, text)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # so that a power cut, too, leaves the old file or the new one


def read_config(path):
    """Returns the settings that `save_model` has put into a .keras file.

    Raises:
        UserError: if the file is damaged or was not written by this project.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(CONFIG_NAME) if CONFIG_NAME in archive.namelist() else b""
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise UserError(
            f"{path}: is not a whole .keras file ({error}). Train again or copy it again."
        ) from error
    try:
        config = Config.from_json(text.decode())
        config.check()
        return config
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: does not hold the settings of this project's models. Use a file that "
            "train.py wrote."
        ) from error


def load_model(path):
    """Loads a model for inference and its settings.

    Returns:
        A `keras.Model` from pictures `[B, H, W, C]`, values 0..255, to class probabilities
        `[B, H, W, K]`, and its `Config`.

    Raises:
        UserError: if the file cannot be used.
    """
    config = read_config(path)
    import keras

    from core.devices import fuse

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file makes Keras stumble in many ways
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{path}: Keras cannot load this model ({reason}). Train again or copy it again."
        ) from error
    if len(model.inputs) != 1 or model.input_shape[-1] != config.channels:
        raise UserError(
            f"{path}: the model does not take pictures of {config.channels} channels, as its "
            "settings say."
        )
    if model.output_shape[-1] != config.num_classes:
        raise UserError(
            f"{path}: the model has {model.output_shape[-1]} classes, its settings "
            f"{config.num_classes}."
        )
    fuse(model)
    return keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0])), config


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
