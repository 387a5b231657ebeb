"""Scores a trained U-Net on a data set: python evaluate.py --help."""

import dataclasses
import sys

from core.config import PRESETS, PROTOCOLS, REPORT_FILES
from core.prediction.model_file import (
    add_inference_flags,
    find_weights,
    load_model,
    read_settings,
    reason_for,
    report_folder,
)
from core.support import backend, errors
from core.support.files import check_folder
from core.support.flags import Parser, add_settings, whole_number, with_flags


def get_args():
    """Parses the command line."""
    parser = Parser(
        description="Prints the MIoU report of a model and writes metrics.json, per_class.csv, "
        "confusion.csv, confusion.png and worst.png.",
        example="python evaluate.py --weights runs/folder --tta",
    )
    default = "that of the training, as for all of these"
    add_settings(parser, "data", default=default, presets=False)
    text = "train, val or all (default: val; all of unknown images)"
    splits = "train", "val", "all"
    parser.add_argument("--split", choices=splits, metavar="KIND", help=text)
    text = "voc: at the images' own size; letterbox: on the canvas, as the original (default: voc)"
    options = {"choices": PROTOCOLS, "default": "voc", "metavar": "KIND"}
    parser.add_argument("--protocol", help=text, **options)
    add_inference_flags(parser)
    size = {"type": whole_number(1), "metavar": "N", "default": 8}
    parser.add_argument("--batch-size", help="images in a batch (default: 8)", **size)
    output = parser.add_argument_group("output")
    text = "the report's folder (default: the run's; of a shipped model reports/NAME)"
    output.add_argument("--output", metavar="DIR", help=text)
    return parser.parse_args()


def get_config(args, trained):
    """Makes the settings of the data to score on from those of the model and the flags."""
    config = trained
    if args.dataset and args.dataset != trained.dataset:
        fields = [f.name for f in dataclasses.fields(trained) if f.metadata["group"] == "data"]
        preset = {name: getattr(PRESETS[args.dataset], name) for name in (*fields, "class_names")}
        preset["class_names"] = preset["class_names"] or trained.names  # own data's are the model's
        config = dataclasses.replace(trained, **preset)
    config = with_flags(config, args)
    if config.names != trained.names:
        raise errors.UserError(
            f"The model tells {trained.num_classes} classes apart ({', '.join(trained.names)}), "
            f"the data has {config.num_classes} ({', '.join(config.names)}). Choose other "
            "--weights, --dataset or --classes."
        )
    return config


def main():
    """Evaluates."""
    args = get_args()
    weights = find_weights(args.weights, shipped=False)
    trained, found = read_settings(weights)
    config = get_config(args, trained)
    tile = config.tile if args.tile is None else args.tile
    if args.protocol == "letterbox":
        if args.tile:
            raise errors.UserError("--protocol letterbox compares on the canvas. Leave out --tile.")
        tile = False
    output = check_folder(args.output or report_folder(weights))
    print(reason_for(weights, args.weights), file=sys.stderr)

    backend.start()
    from core.evaluation.report import block, membranes, table, write_report
    from core.evaluation.score import score, set_range
    from core.imaging.tiles import large_images
    from core.sources.detect import open_scored
    from core.support.devices import choose_policy
    from core.training.checkpoint import read_split

    policy = choose_policy(args.precision)
    model, *_ = load_model(weights, tile, policy)
    known = read_split(weights.parent)
    alike = config.dataset == trained.dataset and not args.class_table
    reading = found.masks if alike else None
    dataset, split = open_scored(config, args.split, known, trained, reading=reading)
    if dataset.stated:
        print(dataset.stated, file=sys.stderr)
    if dataset.drawn:
        note = f"{weights} has no split.json beside it that fits: it may know these images."
        print(note, file=sys.stderr)
    options = {"tile": tile, "tta": args.tta, "batch_size": args.batch_size}
    with large_images(tile):
        set_range(dataset, found.intensity, args.intensity and config.intensity)
        scored = score(model, dataset, config, args.protocol, **options)
    facts = {
        "protocol": args.protocol,
        "weights": str(weights),
        "dataset": config.dataset,
        "data": config.data,
        "split": split,
        "tile": tile,
        "tta": args.tta,
        "precision": policy.removeprefix("mixed_"),
        "pictures": len(dataset.image_info),
    }
    write_report(output, scored, config.names, found.palette, facts)
    matrix, names = scored.matrix, config.names
    parts = block(matrix, names), membranes(scored), "", table(matrix, names)
    print(*(part for part in parts if part is not None), sep="\n")
    which = f"{facts['pictures']} images ({config.dataset}, {split})"
    print(f"{args.protocol} protocol, {which}, {weights}")
    print(f"{output}: {', '.join(REPORT_FILES)}; in {facts['precision']}.", file=sys.stderr)


if __name__ == "__main__":
    errors.run(main)
