"""Networks in several precisions, and the scripts: python -m benchmarks.throughput --help."""

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import Row, in_turns, scaled, show
from benchmarks.predict_step import batch
from core.config import PRESETS, VOC_HOME, Config, Found
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares a batch in float32 with the same in bfloat16 and by OpenVINO, for "
        "the networks in weights/ and an untrained U-Net with batch normalization. Then the images "
        "per second of evaluate.py, from files to scores, and of predict.py, from files to files, "
        "start-up aside, with those of that U-Net alone, on the same images in memory, in the "
        "precision that suits this machine. Or evaluate.py's peak memory for a tenth of the images "
        "with that for all of them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--val-list", metavar="FILE", help="default: VOC's own or SBD's val")
    parser.add_argument("--images", type=whole_number(10), metavar="N", default=80)
    parser.add_argument("--filters", type=whole_number(1), metavar="N", default=32)
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", default=8)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    return parser.parse_args()


def write_list(args, folder, count):
    """Writes a list of `count` images; a shorter one is gone through again."""
    from core.sources.choose import open_dataset

    ids = open_dataset(Config(data=args.data, val_list=args.val_list), "val").annotation
    path = folder / f"{count}.txt"
    path.write_text("\n".join((ids * -(-count // len(ids)))[:count]) + "\n")
    return path


@contextlib.contextmanager
def on_openvino(precision, networks):
    """Yields a function that predicts network number N in a process of its own, by OpenVINO."""
    parts = (str(part) for network in networks for part in network[:3])
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.predict_step", precision, *parts],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        if not other.stdout.readline():
            raise errors.UserError("OpenVINO does not run here. Leave it out: pip uninstall it.")

        def predict(number):
            print(number, file=other.stdin, flush=True)
            return float(other.stdout.readline())

        yield predict
        other.stdin.close()


def precisions(args, weights):
    """Returns the rows of the networks in float32 and bfloat16, here and by OpenVINO."""
    from core.prediction.model_file import SHIPPED, load_model

    networks = [  # a file, images in a batch, their side, and the aim for bfloat16
        (SHIPPED.with_name("isbi.keras"), 1, 512, "at most 0.6"),
        (weights, 8, 320, "at most 0.6"),
        (SHIPPED, 8, 320, ""),
    ]
    rows = []
    with contextlib.ExitStack() as others:
        openvino = {}
        if importlib.util.find_spec("openvino"):
            for precision in ("float32", "bfloat16"):
                openvino[precision] = others.enter_context(on_openvino(precision, networks))
        else:
            print("OpenVINO is not installed here, so that it is left out.")
        for number, (path, count, side, wanted) in enumerate(networks):
            jobs = {}
            for precision, policy in (("float32", "float32"), ("bfloat16", "mixed_bfloat16")):
                model, config, _ = load_model(path, policy=policy)
                images = batch(count, side, config.channels)
                jobs[precision] = lambda model=model, images=images: _predict(model, images)
            for precision, predict in openvino.items():
                jobs[f"OpenVINO {precision}"] = lambda p=predict, number=number: p(number)
            times = {k: scaled(v, 1e3) for k, v in in_turns(jobs, 3 * args.rounds).items()}
            name = f"{path.stem}, {count}x{side}x{side},"
            full, half = times["float32"], times["bfloat16"]
            rows.append(Row(f"{name} bfloat16 / float32", half, full, wanted))
            for precision in openvino:
                here = times[f"OpenVINO {precision}"]
                aim = "at most 0.5" if path == SHIPPED and precision == "bfloat16" else ""
                rows.append(Row(f"{name} OpenVINO in {precision} / float32", here, full, aim))
            if openvino:
                aim = "at most 1.05" if wanted else ""
                best = times["OpenVINO bfloat16"]
                rows.append(Row(f"{name} bfloat16 / OpenVINO in bfloat16", half, best, aim))
    return rows


def _predict(model, images):
    model.predict_on_batch(images)


def scripts(args, weights, listing):
    """Returns the rows of images per second, of the scripts and bare."""
    import numpy as np

    from core.evaluation.score import score
    from core.imaging.letterbox import letterbox
    from core.prediction.files import predict_files
    from core.prediction.inputs import Source
    from core.prediction.model_file import load_model
    from core.support.devices import choose_policy
    from core.VOCdataset import VOCDataset

    model, config, found = load_model(weights, policy=choose_policy("auto"))
    dataset = VOCDataset(listing, root=args.data, workers=config.workers)
    count = len(dataset.image_info)
    images = np.stack([letterbox(dataset.read_image(i), config.size) for i in range(count)])
    sources = [Source(info["image_path"]) for info in dataset.image_info]
    output = Path(weights).parent / "predictions"

    def bare():
        for first in range(0, count - args.batch_size + 1, args.batch_size):
            model.predict_on_batch(images[first : first + args.batch_size])

    def evaluate():
        score(model, dataset, config, "voc", batch_size=args.batch_size)

    def predict():
        for _ in predict_files(
            model, config, found.palette, sources, output, {}, batch_size=args.batch_size
        ):
            pass

    jobs = {"bare": bare, "evaluate": evaluate, "predict": predict}
    counts = dict.fromkeys(jobs, count) | {"bare": count // args.batch_size * args.batch_size}
    seconds = in_turns(jobs, args.rounds)
    rates = {name: [counts[name] / s for s in seconds[name]] for name in jobs}
    return [
        Row(f"{name}.py / the bare network", rates[name], rates["bare"], "at least 0.85", "1/s")
        for name in ("evaluate", "predict")
    ]


def memory(args, weights, lists):
    """Prints the peak memory of evaluate.py for each list."""
    peaks = []
    for listing in lists:
        command = ("evaluate.py", "--weights", weights, "--data", args.data, "--val-list", listing)
        started = subprocess.Popen(
            [sys.executable, *command, "--batch-size", str(args.batch_size)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(started.pid, 0)
        if status:
            raise errors.UserError(f"evaluate.py failed on {listing}.")
        peaks.append(usage.ru_maxrss / 1024)  # Linux counts kilobytes
        print(f"{listing.stem:>5} images: {peaks[-1]:7.1f} MiB", flush=True)
    print(f"ratio: {peaks[-1] / peaks[0]:.3f}")


def shifted(model):
    """Lets batch normalization add something, as it does in a trained network.

    An untrained one adds 0. TensorFlow drops that, and then finds no bias to join with activations.
    """
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
    return model


def main():
    """Measures."""
    args = get_args()
    backend.start()
    from core.imaging.draw import voc_palette
    from core.prediction.model_file import save_model
    from core.training.fit import build

    config = dataclasses.replace(PRESETS["voc"], data=args.data, filters=args.filters)
    print(f"VOC preset, {args.filters} filters, batch {args.batch_size}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        weights = folder / f"U-Net {args.filters}.keras"
        found = Found(palette=voc_palette()[:21].tolist())
        save_model(shifted(build(config)), weights, config, found)
        counts = (args.images // 10, args.images) if args.memory else (args.images,)
        rows = [] if args.memory else precisions(args, weights)
        if not Path(args.data).is_dir():
            print(f"{args.data} is not there, so that the scripts are left out (--data DIR).")
        elif args.memory:
            memory(args, weights, [write_list(args, folder, count) for count in counts])
        else:
            rows += scripts(args, weights, write_list(args, folder, *counts))
    if rows:
        show(rows, "keras", "tensorflow", "numpy")


if __name__ == "__main__":
    errors.run(main)
