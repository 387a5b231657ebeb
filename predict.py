"""Segments pictures with a trained U-Net: python predict.py --help."""

import argparse
import sys
from pathlib import Path

from core import backend, errors
from core.errors import UserError
from core.files import make_folder
from core.flags import Parser


def opacity(text):
    """Parses a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0 to 1")
    return value


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="For cat.jpg writes cat_mask.png (class ids as a palette PNG, at the "
        "picture's own size) and cat_overlay.png, and prints the classes found with their share of "
        "the pixels."
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="IMAGE | FOLDER", help="default: a picture of the sample data"
    )
    parser.add_argument(
        "--weights",
        metavar="PATH",
        help="a .keras file or a run's folder (default: the newest run's best.keras)",
    )
    parser.add_argument(
        "--output", metavar="DIR", default="predictions", help="default: %(default)s"
    )
    parser.add_argument(
        "--alpha",
        type=opacity,
        metavar="X",
        default=0.5,
        help="opacity of the overlay (default: %(default)s)",
    )
    return parser.parse_args()


def main():
    """Predicts; returns the exit status."""
    args = get_args()
    from core.inference import find_weights, load_model, predict, read_config
    from core.pictures import check_output, collect
    from core.sample import sample_folder

    weights = find_weights(args.weights)
    read_config(weights)  # refuses what is no model of ours before Keras is started
    paths = collect(args.inputs or [sample_folder() / "JPEGImages" / "val_000.jpg"])
    check_output(paths, Path(args.output))

    backend.start()
    from tqdm import tqdm

    from core.image import class_map, read_image, write_image, write_mask
    from core.visualize import overlay, summary

    model, config = load_model(weights)
    output = make_folder(args.output)
    failed = []
    read = []  # pictures that the network has been given and not yet answered

    def images():
        for path in paths:
            try:
                image = read_image(path, config.channels)
            except UserError as error:
                failed.append(error)
                continue
            read.append((path, image))
            yield image

    scores = predict(model, images(), config.size, batch_size=min(8, len(paths)))
    for scores_of_picture in tqdm(scores, total=len(paths), disable=None, unit="picture"):
        path, image = read.pop(0)
        mask = class_map(scores_of_picture, image.shape[:2])
        write_mask(output / f"{path.stem}_mask.png", mask, config.palette)
        write_image(
            output / f"{path.stem}_overlay.png", overlay(image, mask, config.palette, args.alpha)
        )
        tqdm.write(f"{path}: {summary(mask, config.names)}")
    if len(failed) == len(paths):
        raise failed[0]
    for error in failed:
        print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    errors.run(main)
