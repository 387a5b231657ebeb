"""Training on what people have: python -m benchmarks.own_data --help."""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

from benchmarks.common import Row, in_turns, scaled, show
from core.config import PRESETS, VOC_HOME
from core.support import backend, errors
from core.support.flags import Parser, whole_number

LARGE = 3000, 4000  # height and width of the photographs, 12 megapixels


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Compares epochs of training on photographs of 12 megapixels, after the check, "
        "with epochs on the same images stored as small as the canvas, and samples of them with "
        "samples read anew. Then predicts the photographs by the model that comes along, which is "
        "compared with decoding them, and opens and checks the training data twice, with the index "
        "of a run. The data, in VOC's layout, also shows what is in the photographs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", default=VOC_HOME, help="in VOC's layout")
    parser.add_argument("--photographs", type=whole_number(4), metavar="N", default=24)
    parser.add_argument("--filters", type=whole_number(1), metavar="N", default=16)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=3)
    return parser.parse_args()


def write_photographs(source, folder, count):
    """Writes images of a data set large, with noise, and small; returns the data sets' entries."""
    import cv2  # not before `backend.start`, which says how many threads NumPy has
    import numpy as np
    from PIL import Image

    from core.imaging.letterbox import shrink

    infos = {"large": [], "small": []}
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (*LARGE, 3)).astype(np.int8)
    for index in range(count):
        image, mask = source.load(index)
        image = cv2.resize(image, LARGE[::-1], interpolation=cv2.INTER_CUBIC)
        image = (image + np.roll(noise, 97 * index, 1)).clip(0, 255).astype(np.uint8)
        mask = cv2.resize(mask, LARGE[::-1], interpolation=cv2.INTER_NEAREST)
        pairs = {"large": (image, mask), "small": shrink(image, mask, source.target_size)}
        for name, pair in pairs.items():
            paths = folder / f"{name}{index}.jpg", folder / f"{name}{index}.png"
            for path, values in zip(paths, pair, strict=True):
                Image.fromarray(values).save(path, quality=92)
            infos[name].append(dict(zip(("image_path", "mask_path"), paths, strict=True)))
    return infos


def training(args, infos):
    """Returns the rows of the photographs: epochs of training, and samples."""
    from core.dataset import Dataset
    from core.sources.cache import Store
    from core.training.fit import build, prepare

    config = dataclasses.replace(PRESETS["folder"], class_names=PRESETS["voc"].class_names)
    config = dataclasses.replace(config, filters=args.filters)

    def opened(name, store=None):
        data = Dataset(config.size, config.num_classes, batch_size=4, aug=True, workers=2)
        data.image_info, data.store = infos[name], store
        return data

    def epoch(data):
        data.check()
        model = build(config)
        prepare(model, config, 10**6)
        return lambda: model.fit(data, shuffle=False, verbose=0) and None

    def samples(data):
        return lambda: [data.sample(number) for number in range(args.photographs)] and None

    kept = opened("large", Store())
    jobs = {"large": epoch(kept), "small": epoch(opened("small"))}
    rates = {
        name: [args.photographs / s for s in seconds]
        for name, seconds in in_turns(jobs, args.rounds).items()
    }
    jobs = {"kept": samples(kept), "anew": samples(opened("large"))}
    seconds = in_turns(jobs, args.rounds, time.thread_time)
    figures = (scaled(seconds[name], 1e3 / args.photographs) for name in ("kept", "anew"))
    return [
        Row(
            "training, 12 megapixels / small",
            rates["large"],
            rates["small"],
            "at least 0.9",
            "images/s",
        ),
        Row("a sample of 12 megapixels, kept / read", *figures, "at most 0.1"),
    ]


def predicting(args, folder):
    """Returns the row of predicting photographs, from files to files, held against decoding."""
    from core.imaging.intensity import read_image
    from core.prediction.files import predict_files
    from core.prediction.inputs import Source
    from core.prediction.model_file import SHIPPED, load_model
    from core.support.devices import choose_policy
    from core.support.threads import mapped

    paths = [folder / f"large{index}.jpg" for index in range(args.photographs)]
    model, config, found = load_model(SHIPPED, policy=choose_policy("auto"))
    sources, output = list(map(Source, paths)), folder / "predictions"

    def predict():
        for _ in predict_files(model, config, found.palette, sources, output, {}):
            pass

    def decode():
        for _ in mapped(read_image, paths, 8):
            pass

    seconds = in_turns({"predict": predict, "decode": decode}, 2 * args.rounds)
    figures = (scaled(seconds[name], 1e3 / args.photographs) for name in ("predict", "decode"))
    return Row("predict.py, 12 megapixels / decoding", *figures, "at most 2.5")


def starting(args, folder):
    """Returns the row of a second start: to open and check the training data."""
    from core.sources.cache import Index
    from core.sources.choose import open_both

    config = dataclasses.replace(PRESETS["voc"], data=args.data)

    def job(run):
        def start():
            begin = time.perf_counter()
            for data in open_both(config, index=run and Index(run)):
                data.check()
            return time.perf_counter() - begin

        return start

    seconds = in_turns({"again": job(folder / "run"), "first": job(None)}, args.rounds)
    return Row("second start / first", seconds["again"], seconds["first"], "at most 2 s", "s")


def main():
    """Measures."""
    args = get_args()
    backend.start()
    if not Path(args.data).is_dir():
        raise errors.UserError(f"{args.data}: there is no such folder. Name data with --data.")
    from core.sources.choose import open_dataset

    config = dataclasses.replace(PRESETS["voc"], data=args.data, size=PRESETS["folder"].size)
    source = open_dataset(config, "train")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        infos = write_photographs(source, folder, args.photographs)
        # First, as in a program of its own: TensorFlow's reading of a data set slows it down.
        predicted = predicting(args, folder)
        rows = [*training(args, infos), predicted, starting(args, folder)]
    show(rows, "keras", "opencv-python-headless", "pillow", "numpy")


if __name__ == "__main__":
    errors.run(main)
