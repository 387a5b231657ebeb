"""What preparing images for training costs: python -m benchmarks.pipeline --help."""

import argparse
import dataclasses
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.common import Row, in_turns, scaled, show
from core.config import ISBI_HOME, PRESETS, VOC_HOME
from core.imaging import augment, tiles
from core.support import backend, errors
from core.support.flags import Parser, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares, in CPU time, a sample of VOC with decoding its files, and a crop "
        "of ISBI, once read, with cv2.remap of it; and the images per second that two workers "
        "prepare with those of one. Data that is not there is left out.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--isbi", metavar="DIR", default=ISBI_HOME, help="in ISBI's layout")
    parser.add_argument("--images", type=whole_number(1), metavar="N", default=100)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    return parser.parse_args()


def opened(preset, data, **settings):
    """Opens the training images of a preset."""
    from core.sources.choose import open_dataset

    config = dataclasses.replace(PRESETS[preset], data=data, **settings)
    return open_dataset(config, "train", training=True)


def voc(args):
    """Returns the row of a sample of VOC, as the preset changes it."""
    dataset = opened("voc", args.data)
    numbers = range(min(args.images, len(dataset.image_info)))

    def samples():
        for number in numbers:
            dataset.sample(number)

    def decode():
        for info in (dataset.image_info[number] for number in numbers):
            for path in info.values():
                with Image.open(path) as image:
                    np.asarray(image)

    seconds = in_turns({"samples": samples, "decode": decode}, args.rounds, time.thread_time)
    figures = (scaled(seconds[name], 1e3 / len(numbers)) for name in ("samples", "decode"))
    return Row("VOC sample / decoding its files", *figures, "at most 2")


def isbi(args):
    """Returns the rows of ISBI's crops: as the preset makes them, and each of them elastic."""
    dataset = opened("isbi", args.isbi)
    pairs = [dataset.load(index) for index in range(len(dataset.image_info))]
    dataset.load = lambda index: pairs[index]
    numbers = range(max(args.images, 100))
    rng = np.random.default_rng(0)
    height, width = dataset.crop
    corner = rng.uniform(20, 30, (height, width, 2)).astype(np.float32)
    where = corner + np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1, dtype="float32")

    def samples():
        for number in numbers:
            dataset.sample(number)

    def elastic():
        for number in numbers:
            image, mask = pairs[number % len(pairs)]
            crop = tiles.random_crop(mask.shape, rng, dataset.crop)
            augment.elastic(*augment.orient(image, mask, rng), rng, crop)

    def remap():
        for number in numbers:
            image, mask = pairs[number % len(pairs)]
            cv2.remap(image, where, None, cv2.INTER_LINEAR)
            cv2.remap(mask, where, None, cv2.INTER_NEAREST)

    jobs = {"preset": samples, "elastic": elastic, "remap": remap}
    seconds = in_turns(jobs, args.rounds, time.thread_time)
    per = {name: scaled(times, 1e3 / len(numbers)) for name, times in seconds.items()}
    what = {"preset": "ISBI crop, preset", "elastic": "ISBI crop, always elastic"}
    return [
        Row(f"{text} / cv2.remap of it", per[name], per["remap"], "at most 6")
        for name, text in what.items()
    ]


def workers(args):
    """Returns the row of two workers: images per second as `fit` takes them, nothing trained."""
    import keras

    class Nothing(keras.Model):
        def train_step(self, data):
            del data
            return {"loss": keras.ops.zeros(())}

    datasets = {count: opened("voc", args.data, workers=count) for count in (1, 2)}
    batches = -(-12 * args.images // datasets[1].batch_size)  # so that the start counts little

    def job(dataset):
        first = dataset.image_info[: batches * dataset.batch_size]
        dataset.image_info = first * -(-batches * dataset.batch_size // len(first))
        model = Nothing()
        model.compile()

        def run():
            model.fit(dataset, shuffle=False, verbose=0)

        return run

    seconds = in_turns({count: job(data) for count, data in datasets.items()}, args.rounds)
    rates = ([batches * 4 / s for s in seconds[count]] for count in (2, 1))
    return Row("images/s, 2 workers / 1", *rates, "at least 1.7 of 2", "1/s")


def main():
    """Measures."""
    args = get_args()
    backend.start()
    rows = []
    if Path(args.data).is_dir():
        rows += [voc(args), workers(args)]
    if Path(args.isbi).is_dir():
        rows += isbi(args)
    if not rows:
        raise errors.UserError(f"Neither {args.data} nor {args.isbi} is there. Name data.")
    show(rows, "keras", "opencv-python-headless", "pillow", "numpy")


if __name__ == "__main__":
    errors.run(main)
