"""Segments images with a trained U-Net: python predict.py --help."""

import math
import sys
from dataclasses import fields

from core.prediction.model_file import (
    add_inference_flags,
    find_weights,
    load_model,
    read_settings,
    reason_for,
)
from core.support import backend, errors
from core.support.files import check_folder
from core.support.flags import Parser, given_intensity, number, whole_number


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Writes a mask, an overlay and a line of predictions.csv for each image.",
        example="python predict.py photos/ --weights runs/folder --objects",
    )
    names, text = "IMAGE | FOLDER | STACK.tif", "default: an image that the model can know"
    parser.add_argument("inputs", nargs="*", metavar=names, help=text)
    add_inference_flags(parser, without_run=", else a shipped one")
    parser.add_argument(
        "--intensity",
        type=number(math.isfinite, "that is finite"),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values that become 0 and 255 (default: as in training)",
    )
    output = parser.add_argument_group("output")
    text = "the folder (default: predictions/MODEL)"
    output.add_argument("--output", metavar="DIR", help=text)
    text = "also save class probabilities as .npy"
    output.add_argument("--probabilities", action="store_true", help=text)
    output.add_argument(
        "--alpha",
        type=number(lambda x: 0 <= x <= 1, "from 0 to 1"),
        metavar="X",
        default=0.5,
        help="opacity of the overlay (default: 0.5)",
    )
    text = "also number and measure the objects of each class"
    output.add_argument("--objects", action="store_true", help=text)
    for flag, most, default, text in (
        ("--min-area", 2**31, None, "with --objects: smaller ones, in pixels, become background"),
        ("--overlay-size", 2**15, 2048, "longest side of an overlay (default: 2048)"),
        ("--uncertain", 1000, None, "also draw the N images of which the model is least certain"),
    ):
        kind = whole_number(1, most)
        output.add_argument(flag, type=kind, metavar="N", default=default, help=text)
    return parser.parse_args()


def main():
    """Predicts; returns the exit status."""
    args = get_args()
    from core.prediction.files import Wanted, predict_files
    from core.prediction.inputs import PREDICTIONS, collect, folder_for
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
        more = ["objects.csv"] * args.objects + ["uncertain.png"] * bool(args.uncertain)
        *written, last = ["masks", "overlays", "predictions.csv", *more]
        text = f"{output}: {', '.join(written)} and {last} by {weights}, in {precision}."
        print(text, file=sys.stderr)
    for error in failures.values():
        print(errors.one_line(error), file=sys.stderr)
    return 2 if len(failures) == len(sources) else min(1, len(failures))


if __name__ == "__main__":
    errors.run(main)
