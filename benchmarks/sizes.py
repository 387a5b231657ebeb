"""What an image costs by its size and the network's width: python -m benchmarks.sizes --help."""

import argparse
import math
import statistics

import numpy as np

from benchmarks.common import in_turns, machine
from benchmarks.training import batch_of, prepared
from core.config import Config
from core.support import backend, errors
from core.support.flags import Parser, whole_number

PIXELS = 2**19  # of a batch, as far as one image of it is not larger


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Times a training step and a prediction for squares of several sides and "
        "networks of several widths, per image, and fits a power law to both.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    number = whole_number(1)
    parser.add_argument("--sides", type=number, nargs="+", metavar="N", default=[128, 256, 512])
    parser.add_argument("--filters", type=number, nargs="+", metavar="N", default=[16, 32, 64])
    parser.add_argument("--rounds", type=number, metavar="N", default=2)
    return parser.parse_args()


def measure(side, filters, rounds):
    """Returns the seconds of an image in training and in prediction."""
    batch = max(1, min(16, PIXELS // side**2))
    config = Config(size=(side, side), filters=filters, batch_size=batch)
    model = prepared(config)
    images, masks = batch_of(config)

    def training():
        model.train_on_batch(images, masks)

    def prediction():
        model.predict_on_batch(images)

    seconds = in_turns({"training": training, "prediction": prediction}, rounds)
    return [statistics.median(times) / batch for times in seconds.values()]


def law(sides, filters, seconds):
    """Fits `seconds = a * pixels**p * filters**q`; returns a, p, q and the largest misfit."""
    terms = np.stack([np.ones(len(sides)), 2 * np.log(sides), np.log(filters)], 1)
    solution, *_ = np.linalg.lstsq(terms, np.log(seconds), rcond=None)
    misfit = np.exp(np.abs(terms @ solution - np.log(seconds)).max())
    return math.exp(solution[0]), solution[1], solution[2], misfit


def main():
    """Measures."""
    args = get_args()
    backend.start()
    import keras

    print(machine("keras", "tensorflow", "numpy"))
    print("  side  filters  training  prediction  [ms per image]")
    found = []
    for filters in args.filters:
        for side in args.sides:
            seconds = measure(side, filters, args.rounds)
            keras.backend.clear_session()
            found.append((side, filters, *seconds))
            training, prediction = (1e3 * number for number in seconds)
            print(f"{side:6} {filters:8} {training:9.1f} {prediction:11.1f}", flush=True)
    if len(args.sides) > 1 and len(args.filters) > 1:
        sides, filters, *both = map(np.array, zip(*found, strict=True))
        for name, seconds in zip(("training", "prediction"), both, strict=True):
            _, pixels, width, misfit = law(sides, filters, seconds)
            print(
                f"{name}: about as pixels ** {pixels:.2f} * filters ** {width:.2f}, within a "
                f"factor of {misfit:.2f}"
            )


if __name__ == "__main__":
    errors.run(main)
