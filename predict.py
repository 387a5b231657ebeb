"""Segments images with a trained U-Net: python predict.py --help."""

import math
import sys
from dataclasses import fields

from core.support import backend, errors
from core.support.files import check_folder
from core.support.flags import Parser, add_inference_flags, given_intensity, number, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="For cat.jpg writes cat_mask.png (class ids as a palette PNG, at the "
        "image's own size) and cat_overlay.jpg, and prints the classes found with their share of "
        "the pixels. For a TIFF file of several pages, TIFF files with as many. predictions.csv "
        "has a line for each image and class."
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="IMAGE | FOLDER | STACK.tif",
        help="default: an image that the model can know",
    )
    text = "default: predictions/ and in it a folder with the model's name"
    parser.add_argument("--output", metavar="DIR", help=text)
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
    text = "also number the objects of each class: NAME_objects.tif, and objects.csv measures them"
    parser.add_argument("--objects", action="store_true", help=text)
    for flag, most, default, text in (
        ("--min-area", 2**31, None, "with --objects: those of fewer pixels become background"),
        ("--overlay-size", 2**15, 2048, "longest side of an overlay (default: %(default)s)"),
        ("--uncertain", 1000, None, "also draw the N images of which the model is least certain"),
    ):
        kind = whole_number(1, most)
        parser.add_argument(flag, type=kind, metavar="N", default=default, help=text)
    return parser.parse_args()


def main():
    """Predicts; returns the exit status."""
    args = get_args()
    from core.prediction.files import Wanted, predict_files
    from core.prediction.inputs import PREDICTIONS, collect, folder_for
    from core.prediction.model_file import find_weights, load_model, read_settings, reason_for
    from core.prediction.outputs import Outputs
    from core.sources.sample import known_image

    weights = find_weights(args.weights)
    config, _ = read_settings(weights)  # refuses what is no model of ours before Keras is started
    wanted = Wanted(**{field.name: getattr(args, field.name) for field in fields(Wanted)})
    wanted.check(config.names)
    left_out, output = [], args.output or folder_for(weights)
    named = args.inputs or [known_image(config)]
    sources = collect(named, output, left_out, args.output or PREDICTIONS)
    output = check_folder(output)
    Outputs(output, args.uncertain).close()  # refuses tables that are not ours, also before
    print(reason_for(weights, args.weights), file=sys.stderr)
    if left_out:
        print(f"No images, so left out: {errors.few(left_out)}.", file=sys.stderr)

    backend.start()
    from tqdm import tqdm

    from core.imaging.tiles import large_images
    from core.support.devices import choose_policy

    tile = config.tile if args.tile is None else args.tile
    policy = choose_policy(args.precision)
    model, config, found = load_model(weights, tile, policy)
    failures = {}
    options = {"tile": tile, "tta": args.tta, "batch_size": min(8, len(sources))}
    options |= {"wanted": wanted, "intensity": (found.intensity, given_intensity(args))}
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
