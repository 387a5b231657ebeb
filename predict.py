"""Segments images with a trained U-Net: python predict.py --help."""

import math
import sys

from core.support import backend, errors
from core.support.files import check_folder
from core.support.flags import Parser, add_inference_flags, given_intensity, number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="For cat.jpg writes cat_mask.png (class ids as a palette PNG, at the "
        "image's own size) and cat_overlay.png, and prints the classes found with their share of "
        "the pixels. For a TIFF file of several pages, TIFF files with as many."
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="IMAGE | FOLDER | STACK.tif",
        help="default: an image that the model can know",
    )
    parser.add_argument(
        "--output", metavar="DIR", default="predictions", help="default: %(default)s"
    )
    photographs = ", without any run the model for photographs that comes with the project"
    add_inference_flags(parser, without_run=photographs)
    parser.add_argument(
        "--intensity",
        type=number(math.isfinite, "that is finite"),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the values that become 0 and 255 (default: as in training)",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also save class probabilities, float16 of [height, width, classes], as .npy",
    )
    parser.add_argument(
        "--alpha",
        type=number(lambda x: 0 <= x <= 1, "from 0 to 1"),
        metavar="X",
        default=0.5,
        help="opacity of the overlay (default: %(default)s)",
    )
    return parser.parse_args()


def main():
    """Predicts; returns the exit status."""
    args = get_args()
    from core.prediction.inputs import collect
    from core.prediction.model_file import find_weights, load_model, read_settings, reason_for
    from core.prediction.table import Table
    from core.sources.sample import known_image

    weights = find_weights(args.weights)
    config, _ = read_settings(weights)  # refuses what is no model of ours before Keras is started
    left_out = []
    sources = collect(args.inputs or [known_image(config)], args.output, left_out)
    output = check_folder(args.output)
    Table(output).close()  # refuses a predictions.csv that is not ours, also before
    print(reason_for(weights, args.weights), file=sys.stderr)
    if left_out:
        print(f"No images, so left out: {errors.few(left_out)}.", file=sys.stderr)

    backend.start()
    from tqdm import tqdm

    from core.imaging.tiles import large_images
    from core.prediction.files import predict_files
    from core.support.devices import choose_policy

    tile = config.tile if args.tile is None else args.tile
    policy = choose_policy(args.precision)
    model, config, found = load_model(weights, tile, policy)
    failures = {}
    options = {name: getattr(args, name) for name in ("tta", "alpha", "probabilities")}
    options |= {"tile": tile, "intensity": (found.intensity, given_intensity(args))}
    options["batch_size"] = min(8, len(sources))
    lines = predict_files(model, config, found.palette, sources, output, failures, **options)
    with large_images(tile):
        for line in tqdm(lines, total=len(sources), disable=None, unit="image"):
            tqdm.write(line)
    if len(failures) < len(sources):
        precision = policy.removeprefix("mixed_")
        print(f"{output}: masks and overlays by {weights}, in {precision}.", file=sys.stderr)
    for error in failures.values():
        print(errors.one_line(error), file=sys.stderr)
    return 2 if len(failures) == len(sources) else min(1, len(failures))


if __name__ == "__main__":
    errors.run(main)
