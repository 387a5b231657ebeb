"""A trained model and its settings in one file: its flags, finding, saving and loading it."""

import argparse
import dataclasses
import glob
import importlib
import inspect
import json
import os
import zipfile
from pathlib import Path

from core.config import BYTES, Config, Found
from core.support.errors import UserError
from core.support.files import replacing
from nets.reach import geometry

CONFIG_NAME = "unet.json"  # the settings' name inside a .keras file, which is a zip archive
_NEWER = {"renorm_momentum"}  # newer than the oldest Keras, with another default than None or False
SHIPPED = Path(__file__).parents[2] / "weights" / "voc-animals.keras"


def add_inference_flags(parser: argparse.ArgumentParser, without_run: str = "") -> None:
    """Adds the flags that say how a model looks at images; `without_run` is for --weights' help."""
    group = parser.add_argument_group("network")
    text = f"a .keras file or a run's folder (default: the newest run{without_run})"
    group.add_argument("--weights", metavar="PATH", help=text)
    text = "cut images into tiles at their own resolution (default: as trained)"
    group.add_argument("--tile", action=argparse.BooleanOptionalAction, help=text)
    text = "test-time augmentation: average over orientations"
    group.add_argument("--tta", action="store_true", help=text)
    kinds = "auto", "float32", "bfloat16"
    text = f"{', '.join(kinds)} (default: auto)"
    group.add_argument("--precision", choices=kinds, default="auto", metavar="KIND", help=text)


def find_weights(path=None, shipped=True, flag="--weights"):
    """Returns the .keras file that is meant, or raises a UserError.

    Args:
        path: a .keras file, a run's folder, or None for the newest run anywhere below `runs/`.
        shipped: whether the model for photographs that ships with the project is meant where there
            is no run.
        flag: the flag that names the path, for messages.
    """
    if path is None:
        runs = glob.glob("runs/**/best.keras", recursive=True)
        if not (runs or shipped):
            raise UserError(
                "There is no run below runs/. Run train.py first, or name a .keras file or a run's "
                "folder with --weights."
            )
        path = max(runs, key=os.path.getmtime, default=SHIPPED)
    file = Path(path, "best.keras") if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(
            f"{file}: there is no such file. Run train.py first, or name a .keras file or a run's "
            f"folder with {flag}."
        )
    return file


def reason_for(weights, named):
    """Says which model is used and why; `named` is the path that the user gave, or None."""
    if named is not None:
        why = "named by --weights"
    elif weights == SHIPPED:
        why = "no run below runs/, so the model that comes with the project"
    else:
        why = "the newest run below runs/"
    return f"Model: {weights} ({why})."


def report_folder(weights: Path) -> Path:
    """Returns the folder of a model's report: that of its run, where it has one."""
    if weights.absolute().parent == SHIPPED.parent:
        return Path("reports", weights.stem)
    return weights.parent


def save_model(model, path, config, found, members=(), optimizer=None):
    """Saves a model, its `Config` and its `Found`; the file is still an ordinary .keras file.

    It is saved without its loss, so that Keras alone can load it, and computes in float32; older
    versions of Keras load it, too. Of an optimizer the state is kept, too. `members` are more texts
    to put into the file, by name.
    """
    import keras

    from core.support.devices import portable

    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    every_argument = bare.get_config
    bare.get_config = lambda: without_unused(every_argument())
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


def without_unused(item):
    """Returns what Keras writes of a model, without the arguments that are not used.

    The newest Keras has arguments that older versions refuse. Unused ones have their default, None
    or False. `item` is anything of a model's `get_config`, or the same read from JSON.
    """
    if isinstance(item, (list, tuple)):
        return type(item)(map(without_unused, item))
    if not isinstance(item, dict):
        return item
    item = {name: without_unused(value) for name, value in item.items()}
    if str(item.get("module")).startswith("keras.") and isinstance(item.get("config"), dict):
        kind = getattr(importlib.import_module(item["module"]), item["class_name"])
        defaults = {k: v.default for k, v in inspect.signature(kind.__init__).parameters.items()}
        for name, value in list(item["config"].items()):
            unused = value is None or value is False or name in _NEWER
            if unused and name in defaults and value == defaults[name]:
                del item["config"][name]
    return item


def to_json(config: Config, found: Found) -> str:
    """Returns the settings as JSON text."""
    return json.dumps({**dataclasses.asdict(config), "found": dataclasses.asdict(found)}, indent=2)


def from_json(text: str) -> tuple[Config, Found]:
    """Reads `to_json`'s text; unknown settings are left out.

    Raises:
        ValueError, TypeError, AttributeError: if these are no settings that a model can have.
    """
    values = json.loads(text)
    # Files of version 0.1 had what was found beside what was asked, and class weights as `weights`.
    found = values.get("found") or {**values, "class_weights": values.get("weights", ())}
    values |= {} if values.get("found") else {"masks": None}  # it said then how they are read
    config, found = (
        cls(**{f.name: _tuples(part[f.name]) for f in dataclasses.fields(cls) if f.name in part})
        for cls, part in ((Config, values), (Found, found))
    )
    low, high = map(float, found.intensity or BYTES)
    whole = (*config.size, *(config.crop or ()), config.filters)
    if not (
        all(isinstance(number, int) and number > 0 for number in whole)
        and len(config.size) == 2
        and config.channels in (1, 3)
        and all(isinstance(name, str) for name in config.names)
        and all(len(colour) == 3 and max(colour) < 256 for colour in found.palette)
        and len(found.palette) >= len(config.names)
        and low < high
    ):
        raise ValueError("no settings of a model")
    return config, found


def _tuples(value):
    """JSON's lists back to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


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


def load_network(path):
    """Loads a model as its training left it, to logits, or raises a UserError.

    Returns:
        The `keras.Model`, its `Config` and its `Found`.
    """
    config, found = read_settings(path)
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file makes Keras stumble in many ways
        reason = str(error).rpartition("Exception encountered: ")[2].split("\n")[0]
        raise UserError(
            f"{path}: Keras cannot load this model ({reason}). Keras {_written_by(path)} wrote it, "
            f"this is Keras {keras.__version__}. Copy it again, install that Keras, or train again."
        ) from error
    channels, classes = model.input_shape[-1], model.output_shape[-1]
    if (channels, classes) != (config.channels, config.num_classes):
        raise UserError(
            f"{path}: the model has {channels} channels and {classes} classes, its settings "
            f"{config.channels} and {config.num_classes}. Use a file that train.py wrote."
        )
    return model, config, found


def load_model(path, tile=False, policy="float32", exported=False):
    """Loads a model for inference, with `tile` on tiles, and its settings, or raises a UserError.

    It computes with a Keras dtype policy, its probabilities always in float32. Its weights are not
    those of the file, see `nets.inference.quicken`. With `exported`, it is for other programs,
    and so without sub-pixel convolutions.

    Returns:
        A `keras.Model` from images `[B, H, W, C]`, values 0..255, to class probabilities
        `[B, H, W, K]`, its `Config` and its `Found`. What its `predict_on_batch` returns may be
        read-only.
    """
    model, config, found = load_network(path)
    import keras

    from core.support import devices
    from nets.inference import quicken, softmax

    if tile:
        check_tiles(path, model)
    exact = devices.compute_in(model, policy)
    devices.fuse(model)
    # With an encoder, only 30 to 70 images win back the time to trace sub-pixel convolutions.
    alone = config.encoder == "none"
    quicken(model, exact, alone and not exported and devices.subpixels())
    probabilities = softmax(model.outputs[0], devices.CLASSES_FIRST)
    model = keras.Model(model.inputs, probabilities)
    devices.answer_without_copy(model)
    return model, config, found


def check_tiles(path, model):
    """Raises a UserError if a model, which may be adopted, cannot work on tiles."""
    height, width = model.input_shape[1:3]
    try:
        if (height, width) != (None, None):
            raise TypeError(f"it takes images of {height}x{width} only")
        geometry(model)
    except TypeError as error:
        raise UserError(f"{path}: cannot work on tiles ({error}). Add --no-tile.") from error


def _written_by(path):
    """The version of Keras that wrote a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("metadata.json"))["keras_version"]
    except Exception:  # it may be what is damaged
        return "(of an unknown version)"
