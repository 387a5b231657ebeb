"""What evaluate.py costs beside the network: python -m benchmarks.scoring --help."""

import argparse
import dataclasses
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core import backend, errors
from core.config import PRESETS, VOC_HOME
from core.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares the pictures per second of evaluate.py's loop, from files to scores, "
        "with those of the bare network on the same pictures in memory, and its peak memory for "
        "a tenth of the pictures with that for all of them. The network is untrained.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--list", metavar="NAME", default="SegmentationAug/val")
    parser.add_argument("--pictures", type=whole_number(10), metavar="N", default=300)
    parser.add_argument("--filters", type=whole_number(1), metavar="N", default=32)
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", default=8)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    return parser.parse_args()


def write_list(args, folder, count):
    """Writes a list of `count` pictures; a shorter one is gone through again."""
    ids = (Path(args.data) / "ImageSets" / f"{args.list}.txt").read_text().split()
    path = folder / f"{count}.txt"
    path.write_text("\n".join((ids * -(-count // len(ids)))[:count]) + "\n")
    return path


def speed(args, weights, listing):
    """Prints pictures per second, bare and as a whole, round by round."""
    import numpy as np

    from core.evaluation import score
    from core.image import letterbox
    from core.inference import load_model
    from core.VOCdataset import VOCDataset

    model, config = load_model(weights)
    dataset = VOCDataset(listing, root=args.data, workers=config.workers)
    count = len(dataset.image_info)
    images = np.stack([letterbox(dataset.read_image(i), config.size) for i in range(count)])
    whole_batches = count // args.batch_size * args.batch_size

    def bare():
        for first in range(0, whole_batches, args.batch_size):
            model.predict_on_batch(images[first : first + args.batch_size])
        return whole_batches

    def whole():
        score(model, dataset, config, "voc", args.batch_size)
        return count

    ratios = []
    model.predict_on_batch(images[: args.batch_size])  # the first call compiles
    print("round  bare/s  evaluate/s  ratio")
    for number in range(args.rounds):
        rates = []
        for job in (bare, whole) if number % 2 == 0 else (whole, bare):
            start = time.perf_counter()
            rates.append(job() / (time.perf_counter() - start))
        alone, together = rates if number % 2 == 0 else rates[::-1]
        ratios.append(together / alone)
        print(f"{number + 1:5}  {alone:6.2f}  {together:10.2f}  {ratios[-1]:5.2f}", flush=True)
    print(f"median ratio: {statistics.median(ratios):.3f}")


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
        print(f"{listing.stem:>5} pictures: {peaks[-1]:7.1f} MiB", flush=True)
    print(f"ratio: {peaks[-1] / peaks[0]:.3f}")


def main():
    """Measures."""
    args = get_args()
    backend.start()
    import keras

    from core.inference import save_model
    from core.training import build
    from core.visualize import voc_palette

    config = dataclasses.replace(
        PRESETS["voc"], data=args.data, filters=args.filters, palette=voc_palette()[:21].tolist()
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores; Keras {keras.__version__} on", end=" ")
    print(f"{keras.config.backend()}; VOC preset, {args.filters} filters, batch {args.batch_size}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        weights = folder / "model.keras"
        save_model(build(config), weights, config)
        counts = (args.pictures // 10, args.pictures) if args.memory else (args.pictures,)
        lists = [write_list(args, folder, count) for count in counts]
        if args.memory:
            memory(args, weights, lists)
        else:
            speed(args, weights, *lists)


if __name__ == "__main__":
    errors.run(main)
