"""Using a trained model: finding it, loading it, and running pictures through it."""

import itertools
import zipfile
from pathlib import Path

import numpy as np

from core.config import Config
from core.errors import UserError
from core.files import replacing
from core.image import letterbox

CONFIG_NAME = "unet.json"  # the settings' name inside a .keras file, which is a zip archive


def find_weights(path=None):
    """Returns the .keras file that is meant.

    Args:
        path: a .keras file, a run's folder, or None for the newest run below `runs/`.

    Raises:
        UserError: if there is none.
    """
    if path is None:
        runs = sorted(Path("runs").glob("*/best.keras"), key=lambda file: file.stat().st_mtime)
        if not runs:
            raise UserError(
                "There is no trained model in runs/. Run train.py first, or name one with "
                "--weights."
            )
        return runs[-1]
    path = Path(path)
    file = path / "best.keras" if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file}: there is no such file. --weights takes a .keras file or a run's folder."
        )
    return file


def save_model(model, path, config):
    """Saves a model with the settings it was made by; the file is still an ordinary .keras file."""
    with replacing(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            archive.writestr(CONFIG_NAME, config.to_json())


def read_config(path):
    """Returns the settings that `save_model` has put into a .keras file.

    Raises:
        UserError: if the file is damaged or was not written by this project.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return Config.from_json(archive.read(CONFIG_NAME).decode())
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: is not a whole .keras file ({error}). Train again or copy it again."
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
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

    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{path}: Keras cannot load this model ({reason}). Train again or copy it again."
        ) from error
    if model.output_shape[-1] != config.num_classes:
        raise UserError(
            f"{path}: the model has {model.output_shape[-1]} classes, its settings "
            f"{config.num_classes}."
        )
    return keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0])), config


def predict(model, images, size, batch_size=8):
    """Runs pictures of any sizes through a model, in batches of one shape.

    Args:
        model: from `load_model`.
        images: iterable of uint8 `[H, W, C]`.
        size: the canvas, `(height, width)`.
        batch_size: pictures in a batch; the last one is filled up, so that every batch has one
            shape.

    Yields:
        For each picture, in order, its class probabilities on the canvas, float32 `[height, width,
        K]`.
    """
    images = iter(images)
    while rows := [letterbox(image, size) for image in itertools.islice(images, batch_size)]:
        batch = np.stack(rows + rows[-1:] * (batch_size - len(rows)))
        yield from model.predict_on_batch(batch)[: len(rows)]
