"""A trained model and its settings in one file: finding, saving, reading and loading it."""

import os
import zipfile
from pathlib import Path

from core.config import from_json, to_json
from core.support.errors import UserError
from core.support.files import replacing

CONFIG_NAME = "unet.json"  # the settings' name inside a .keras file, which is a zip archive
SHIPPED = Path(__file__).parents[2] / "weights" / "voc-animals.keras"


def find_weights(path=None):
    """Returns the .keras file that is meant, or raises a UserError.

    Args:
        path: a .keras file, a run's folder, or None for the newest run below `runs/`, or the model
            for photographs that ships with the project where there is no run.
    """
    if path is None:
        runs = Path("runs").glob("*/best.keras")
        path = max(runs, key=lambda file: file.stat().st_mtime, default=SHIPPED)
    file = Path(path, "best.keras") if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(
            f"{file}: there is no such file. Run train.py first, or name a .keras file or a run's "
            "folder with --weights."
        )
    return file


def save_model(model, path, config, found, members=(), optimizer=None):
    """Saves a model, its `Config` and its `Found`; the file is still an ordinary .keras file.

    It is saved without its loss, so that Keras alone can load it, and computes in float32. Of an
    optimizer the state is kept, too. `members` are more texts to put into the file, by name.
    """
    import keras

    from core.support.devices import portable

    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if optimizer:
        bare.optimizer = optimizer
    with replacing(path) as partial:
        with portable(bare):
            bare.save(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            for name, text in {CONFIG_NAME: to_json(config, found), **dict(members)}.items():
                archive.writestr(name, text)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # so that a power cut, too, leaves the old file or the new one


def read_settings(path):
    """Returns the `Config` and the `Found` of a .keras file; a UserError if it has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(CONFIG_NAME) if CONFIG_NAME in archive.namelist() else b""
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise UserError(
            f"{path}: is not a whole .keras file ({error}). Train again or copy it again."
        ) from error
    try:
        return from_json(text.decode())
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: does not hold the settings of this project's models. Use a file that "
            "train.py wrote."
        ) from error


def load_model(path):
    """Loads a model for inference and its settings, or raises a UserError.

    Returns:
        A `keras.Model` from images `[B, H, W, C]`, values 0..255, to class probabilities
        `[B, H, W, K]`, its `Config` and its `Found`.
    """
    config, found = read_settings(path)
    import keras

    from core.support.devices import fuse

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file makes Keras stumble in many ways
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{path}: Keras cannot load this model ({reason}). Train again or copy it again."
        ) from error
    channels, classes = model.input_shape[-1], model.output_shape[-1]
    if (channels, classes) != (config.channels, config.num_classes):
        raise UserError(
            f"{path}: the model has {channels} channels and {classes} classes, its settings "
            f"{config.channels} and {config.num_classes}. Use a file that train.py wrote."
        )
    fuse(model)
    return keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0])), config, found
