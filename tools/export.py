"""Exports a trained model, to run without Keras: python -m tools.export --help."""

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from scipy.special import softmax

from core.imaging.intensity import read_image
from core.imaging.letterbox import letterbox
from core.imaging.tiles import surround
from core.support import backend, errors
from core.support.errors import UserError
from core.support.flags import Parser, whole_number
from nets.reach import geometry, unpadded
from nets.sizes import check_size

SUFFIXES = {"saved_model": "_saved_model", "litert": ".tflite", "onnx": ".onnx"}
PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}  # that a format needs
CALIBRATION = 100  # so many validation images, at most, say which values 8 bits must hold
ALIKE = 0.001  # share of an image's pixels that may change class by rounding in float32


def get_args():
    """Parses the command line."""
    parser = Parser(
        prog="python -m tools.export",
        description="Writes a model for other programs beside its .keras file: NAME_saved_model/, "
        "NAME.tflite or NAME.onnx. Like the .keras file it takes float32 pixels [B, H, W, C], 0 to "
        "255, and gives logits [B, H, W, classes]. Says how far it differs from Keras on an image.",
    )
    parser.add_argument("weights", metavar="RUN", help="a run's folder or a .keras file")
    parser.add_argument("--format", choices=SUFFIXES, required=True)
    text = "of the images (default: any size; litert: the canvas, because it takes one size only)"
    parser.add_argument("--size", type=whole_number(1), nargs=2, metavar=("H", "W"), help=text)
    parser.add_argument(
        "--int8",
        action="store_true",
        help="litert: compute in 8-bit integers, calibrated on validation images; prints the MIoU "
        "before and after",
    )
    text = "--int8: where the data is (default: where the model was trained on it)"
    parser.add_argument("--data", metavar="DIR", help=text)
    args = parser.parse_args()
    if args.format != "litert" and args.int8 or args.data and not args.int8:
        raise UserError("--int8 goes with --format litert, and --data with --int8.")
    return args


def check(args, config):
    """Raises a UserError for what cannot be exported here."""
    import keras

    missing = [name for name in PACKAGES.get(args.format, ()) if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"--format {args.format}: lacks {', '.join(missing)}. Install them: pip install "
            f"{' '.join(PACKAGES[args.format])}."
        )
    if keras.backend.backend() != "tensorflow":
        raise UserError("Exporting needs TensorFlow: set KERAS_BACKEND=tensorflow.")
    if args.format == "litert" and backend.keras_before(3, 13):
        raise UserError(
            "--format litert needs Keras 3.13 or later, and so Python 3.11; this is Keras "
            f"{keras.__version__}."
        )
    if args.size and args.int8 and config.architecture == "paper":
        raise UserError("--int8 takes the canvas of an unpadded network. Leave out --size.")
    if args.size and config.architecture != "adopted":
        try:
            encoder = None if config.encoder == "none" else config.encoder
            check_size(*args.size, config.architecture, encoder)
        except ValueError as error:
            raise UserError(f"--size {args.size[0]} {args.size[1]}: {error}") from error


def image_for(model, config, size=None):
    """Returns the cat or the cells of docs/ as the model takes them, float32 `[1, H, W, C]`."""
    name = "cat.jpg" if config.channels == 3 else "cells.png"
    image = read_image(Path(__file__).parents[1] / "docs" / name, config.channels)
    image = letterbox(image, size or config.size)
    if unpadded(model) and not size:
        image = surround(image, geometry(model))
    return image[None].astype(np.float32)


def write(model, path, kind, size, options):
    """Writes a model; `size` is that of images, None for any; `options` are of `Model.export`."""
    import keras

    shape = (None, *(size or model.input_shape[1:3]), model.input_shape[-1])
    signature = [keras.InputSpec(shape=shape, dtype="float32", name="image")]
    kind = "tf_saved_model" if kind == "saved_model" else kind
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras tries what NumPy has
        model.export(path, format=kind, verbose=False, input_signature=signature, **options)


def opened(path, kind):
    """Returns a function from float32 images `[B, H, W, C]` to logits by an exported model."""
    if kind == "saved_model":
        served = backend.load_saved_model(path)
        return lambda images: served.serve(images).numpy()
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]
    interpreter = _interpreter()(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def one(image):
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return lambda images: np.concatenate([one(image) for image in images])


def _interpreter():
    """LiteRT's interpreter; that of TensorFlow, which will go, where LiteRT is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
        return backend.lite().Interpreter
    return Interpreter


class Exported:
    """An exported model in the place of the Keras model, for `predict` and `score`."""

    def __init__(self, model, run):
        self._model, self._run = model, run

    def __getattr__(self, name):
        """Layers and shapes are those of the Keras model."""
        return getattr(self._model, name)

    def predict_on_batch(self, images):
        """Returns class probabilities, float32 `[B, H, W, K]`."""
        return softmax(self._run(images.astype(np.float32)), axis=-1)


def validation(weights, config, found, data):
    """Opens the validation images of a model, or of other data."""
    from core.evaluation.score import set_range
    from core.sources.detect import open_scored
    from core.training.checkpoint import read_split

    trained, known = config, read_split(weights.parent)
    if data:
        config = dataclasses.replace(config, data=str(Path(data).resolve()))
    dataset, _ = open_scored(config, "val", known, trained, reading=found.masks)
    set_range(dataset, found.intensity, None)
    return dataset


def quantized(model, dataset, config):
    """Returns the options of `write` for 8-bit integers."""
    lite = backend.lite()

    def calibration():
        for index in range(0, len(dataset.image_info), 1 + len(dataset.image_info) // CALIBRATION):
            image = letterbox(dataset.read_image(index), config.size)
            image = surround(image, geometry(model)) if unpadded(model) else image
            yield [image[None].astype(np.float32)]

    return {
        "optimizations": [lite.Optimize.DEFAULT],
        "representative_dataset": calibration,
        "target_spec": {"supported_ops": [lite.OpsSet.TFLITE_BUILTINS_INT8]},
    }


def compare(run, model, image):
    """Says how an exported model differs from the logits of Keras; returns the share of pixels."""
    wanted, found = model.predict_on_batch(image), run(image)
    changed = np.count_nonzero(wanted.argmax(-1) != found.argmax(-1))
    pixels = wanted[..., 0].size
    print(
        f"Beside Keras, on an image of {image.shape[1]}x{image.shape[2]}: largest difference of a "
        f"logit {np.abs(wanted - found).max():.2g}, {changed:,} of {pixels:,} pixels of another "
        "class."
    )
    return changed / pixels


def print_scores(model, exported, dataset, config):
    """Prints the MIoU of a model and of what it became."""
    from core.evaluation.score import score

    before, after = (
        score(each, dataset, config, "voc").matrix.mean_iou for each in (model, exported)
    )
    count = len(dataset.image_info)
    print(f"MIoU on {count} images: {before:.4f} before, {after:.4f} in 8 bits.")


def main():
    """Exports; returns 1 if the exported model is not equal to Keras'."""
    args = get_args()
    from core.prediction.model_file import find_weights, load_model, read_settings, report_folder

    weights = find_weights(args.weights)
    config, found = read_settings(weights)
    backend.start()
    check(args, config)
    import keras

    whole, *_ = load_model(weights, exported=True)
    model = keras.Model(whole.inputs[0], whole.layers[-1].input)  # without the softmax
    size = args.size and tuple(args.size)
    image = image_for(model, config, size)
    if args.int8:
        config = dataclasses.replace(config, size=size or config.size)
        dataset = validation(weights, config, found, args.data)
    options = quantized(model, dataset, config) if args.int8 else {}
    name = f"{weights.stem}{'_int8' if args.int8 else ''}{SUFFIXES[args.format]}"
    target = report_folder(weights) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        partial = Path(folder, name)
        fixed = image.shape[1:3] if args.format == "litert" else size
        write(model, partial, args.format, fixed, options)
        run = opened(partial, args.format)
        changed = compare(run, model, image)
        if args.int8:
            print_scores(whole, Exported(whole, run), dataset, config)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    print(target)
    return 0 if args.int8 or changed <= ALIKE else 1


if __name__ == "__main__":
    errors.run(main)
