"""Makes a model of your own one that predict.py takes: python -m tools.adopt --help."""

import dataclasses
from pathlib import Path

import numpy as np

from core.config import PRESETS, Found
from core.imaging.draw import voc_palette
from core.support import backend, errors
from core.support.errors import UserError
from core.support.files import check_folder
from core.support.flags import Parser, number, parse_names, whole_number
from tools.ship import check_target

_TINY = 1e-30  # added to probabilities, so that 0 has a logarithm


def get_args():
    """Parses the command line."""
    parser = Parser(
        prog="python -m tools.adopt",
        description="Writes a Keras model of your own with the settings that predict.py and "
        "evaluate.py need. The model takes images [B, H, W, 1 or 3] with values 0 to 255, and "
        "gives logits or probabilities [B, H, W, classes]. It is run once to check that.",
    )
    parser.add_argument("model", metavar="MODEL.keras", help="your model")
    parser.add_argument("target", metavar="FILE.keras", help="the file to write")
    parser.add_argument("--class-names", type=parse_names, metavar="A,B,...", required=True)
    text = "the canvas that images are fitted into"
    parser.add_argument(
        "--size", type=whole_number(1), nargs=2, metavar=("H", "W"), required=True, help=text
    )
    parser.add_argument(
        "--divide-by",
        type=number(lambda x: 0 < x < float("inf"), "above 0"),
        metavar="X",
        help="for a model that takes images of another range: 255 if it is 0 to 1",
    )
    return parser.parse_args()


def load(path: Path):
    """Loads any Keras model without its loss; a UserError if that needs code of the user."""
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name), len(model.outputs)
    except Exception as error:  # Keras stumbles in many ways
        reason = str(error).rpartition("Exception encountered: ")[2].split("\n")[0]
        raise UserError(
            f"{path}: Keras alone cannot load this model ({reason}). It must be built of Keras' "
            "own layers, without Lambda and classes of your own."
        ) from error


def divided(model, by: float):
    """Returns a model that first divides its images by a number."""
    import keras

    inputs = keras.Input(model.input_shape[1:])
    first = keras.layers.Rescaling(1 / by, name="adopted_division")(inputs)

    def call(layer, *args, **kwargs):
        args = keras.tree.map_structure(lambda x: first if x is inputs else x, args)
        return layer(*args, **kwargs)

    options = {"clone_function": lambda layer: layer, "call_function": call}
    copy = keras.models.clone_model(model, input_tensors=inputs, **options)
    return keras.Model(inputs, copy.outputs[0], name=model.name)


def run(model, size: tuple[int, int]) -> np.ndarray:
    """Runs a model on random images of large and of small parts, and on black and on white."""
    channels = model.input_shape[-1]
    fine = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    coarse = fine[::16, ::16].repeat(16, 0).repeat(16, 1)[: size[0], : size[1]]
    images = np.stack([fine, coarse, np.zeros_like(fine), np.full_like(fine, 255)])
    return np.asarray(model.predict_on_batch(images), np.float32)


def to_logits(model, size: tuple[int, int], classes: int):
    """Returns a model with a logit for each class, and in words what it gave before.

    Raises:
        UserError: if the model does not fit the size or the number of classes.
    """
    import keras
    from keras import layers

    shape, height, width = model.input_shape, *size
    if len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"The model takes {shape}. It must be images, [B, H, W, 1 or 3].")
    if any(side not in (None, given) for side, given in zip(shape[1:3], size, strict=True)):
        raise UserError(f"The model takes images of {shape[1:3]}. Give these with --size.")
    try:
        answer = run(model, size)
    except Exception as error:  # any layer may fail
        raise UserError(
            f"The model does not run on images of {height}x{width}, try another --size "
            f"({str(error).splitlines()[0]})."
        ) from error
    one = classes == 2 and answer.shape[-1] == 1
    if answer.shape[:-1] != (4, *size) or not (one or answer.shape[-1] == classes):
        raise UserError(
            f"The model makes {answer.shape[1:]} of an image of {height}x{width}. Its output must "
            f"be of that size, with a channel for each of the {classes} --class-names."
        )
    if not np.isfinite(answer).all():
        raise UserError("The model's output is not finite: it has a defect, or needs --divide-by.")
    outputs = model.outputs[0]
    last = getattr(outputs._keras_history.operation, "activation", None)
    unit = getattr(last, "__name__", "") != "linear" and 0 <= answer.min() <= answer.max() <= 1
    if unit and not one and not np.allclose(answer.sum(-1), 1, atol=1e-2):
        raise UserError(
            "The model's output lies in 0 to 1, but the classes of a pixel do not add up to 1. End "
            "it with a softmax, or without an activation."
        )
    # The names of the new layers are none that a layer of the user has.
    if one:  # of a sigmoid, p becomes 1 - p and p; of a logit, x becomes 0 and x
        scale, offset = (-1.0, 1.0) if unit else (0.0, 0.0)
        other = layers.Rescaling(scale, offset, dtype="float32", name="adopted_rest")(outputs)
        join = layers.Concatenate(dtype="float32", name="adopted_classes")
        outputs = join([other, outputs])
    if unit:
        above_0 = layers.Rescaling(1.0, _TINY, dtype="float32", name="adopted_above_0")
        outputs = keras.ops.log(above_0(outputs))
    what = "a probability" if unit else "a logit"
    return keras.Model(model.inputs[0], outputs), f"{what} of {classes - one} classes"


def adopt(model_path, target, names, size, divide_by=None) -> str:
    """Writes the model with settings to `target`; returns what was found out, or a UserError."""
    from core.prediction.model_file import save_model
    from nets.reach import unpadded

    model, outputs = load(model_path)
    if outputs > 1 or unpadded(model):
        raise UserError(f"{model_path}: a model of several outputs or with Cropping2D is no use.")
    model = divided(model, divide_by) if divide_by else model
    try:
        model, what = to_logits(model, size, len(names))
    except UserError as error:
        raise UserError(f"{model_path}: {error}") from error
    config = dataclasses.replace(
        PRESETS["folder"],
        class_names=names,
        size=size,
        channels=model.input_shape[-1],
        architecture="adopted",
        filters=64,  # no more is known; it bounds the memory of tiles
    )
    palette = tuple(map(tuple, voc_palette()[: len(names)].tolist()))
    save_model(model, target, config, Found(masks=None, palette=palette))
    return what


def main():
    """Adopts."""
    args = get_args()
    source = Path(args.model)
    if len(args.class_names) < 2:
        raise UserError("--class-names: name at least two classes, background first.")
    if not source.is_file():
        raise UserError(f"{source}: there is no such file. Name a model.")
    target = check_target(args.target, source)
    check_folder(target.parent, "Name another file.")
    backend.start()
    what = adopt(source, target, args.class_names, tuple(args.size), args.divide_by)
    print(f"{target}: takes what the model gives for {what}.")


if __name__ == "__main__":
    errors.run(main)
