"""What the scripts cost beside the network: python -m benchmarks.throughput --help."""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import Row, in_turns, show
from core.config import PRESETS, VOC_HOME, Config, Found
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares the images per second of evaluate.py, from files to scores, and of "
        "predict.py, from files to files, start-up aside, with those of the bare network on the "
        "same images in memory. Or evaluate.py's peak memory for a tenth of the images with "
        "that for all of them. The network is untrained.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--val-list", metavar="FILE", help="default: VOC's own or SBD's val")
    parser.add_argument("--images", type=whole_number(10), metavar="N", default=300)
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


def speed(args, weights, listing):
    """Prints images per second, bare and of the scripts, round by round."""
    import numpy as np

    from core.evaluation.score import score
    from core.imaging.letterbox import letterbox
    from core.prediction.files import predict_files
    from core.prediction.inputs import Source
    from core.prediction.model_file import load_model
    from core.VOCdataset import VOCDataset

    model, config, found = load_model(weights)
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
    rows = [
        Row(f"{name}.py / the bare network", rates[name], rates["bare"], "at least 0.85", "1/s")
        for name in ("evaluate", "predict")
    ]
    show(rows, "keras", "tensorflow", "numpy")


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
        weights = folder / "model.keras"
        save_model(build(config), weights, config, Found(palette=voc_palette()[:21].tolist()))
        counts = (args.images // 10, args.images) if args.memory else (args.images,)
        lists = [write_list(args, folder, count) for count in counts]
        if args.memory:
            memory(args, weights, lists)
        else:
            speed(args, weights, *lists)


if __name__ == "__main__":
    errors.run(main)
