"""Trains a U-Net: python train.py --help."""

import dataclasses
import sys

from core import backend, errors
from core.config import IGNORE, PRESETS, REPORT_FILES, RUN_FILES, VOC_HOME
from core.files import check_folder, write_json
from core.flags import Parser, add_data_flags, names, training_config, whole_number


def get_args():
    """Parses the command line; what is not given stays None and comes from the preset."""
    parser = Parser(
        description="Trains a U-Net and writes the model, its curves and samples into a folder.",
        epilog="Defaults are those of the data set's preset in core/config.py: "
        + "; ".join(
            f"{name}: size {c.size[0]} {c.size[1]}, filters {c.filters}, epochs {c.epochs}, batch "
            f"size {c.batch_size}, lr {c.lr:g}"
            for name, c in PRESETS.items()
        )
        + ".",
    )
    add_data_flags(parser, f"voc where {VOC_HOME} exists, else sample")
    parser.add_argument(
        "--num-classes",
        type=whole_number(2, IGNORE),
        metavar="N",
        help="for own data: how many classes, background included",
    )
    parser.add_argument(
        "--class-names", type=names, metavar="A,B,...", help="the same, background first"
    )
    number = whole_number(1)
    parser.add_argument(
        "--size", type=number, nargs=2, metavar=("H", "W"), help="the canvas; multiples of 16"
    )
    parser.add_argument("--filters", type=number, metavar="N", help="filters of the first level")
    parser.add_argument("--epochs", type=number, metavar="N")
    parser.add_argument("--batch-size", type=number, metavar="N")
    parser.add_argument("--lr", type=float, metavar="X", help="highest learning rate")
    parser.add_argument(
        "--no-aug",
        dest="aug",
        action="store_false",
        default=None,
        help="train without augmentation",
    )
    parser.add_argument(
        "--class-weights",
        choices=("none", "balanced"),
        help="balanced: the rarer a class among the training pixels, the more it weighs "
        "(default: none)",
    )
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), metavar="N", help="default: 0")
    parser.add_argument(
        "--workers", type=number, metavar="N", help="threads that prepare pictures (default: 2)"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="the run's folder (default: runs/<dataset>)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start again, replacing the run in that folder"
    )
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="read every picture and mask, report what is wrong and the pixels per class, train "
        "nothing",
    )
    return parser.parse_args()


def say(*sentences):
    """Prints a note."""
    print(*sentences, file=sys.stderr)


def main():
    """Trains."""
    args = get_args()
    config = training_config(args)
    folder = check_folder(args.output or f"runs/{config.dataset}")
    from core.checkpoint import epochs_behind

    history = [] if args.overwrite or args.check_data else epochs_behind(config, folder)
    if len(history) >= config.epochs and (folder / "samples.png").exists():
        say(f"{folder}: all {len(history)} epochs are done. A larger --epochs goes on from there.")
        print(best_of(history, folder))
        return
    if config.dataset == "sample" and not args.dataset:
        say(f"No VOC 2012 in {VOC_HOME} (see README.md): the data is the built-in sample.")

    backend.start()
    from core.check import check_data
    from core.datasets import open_both
    from core.training import complete, draw_samples, train

    dataset, validation = open_both(config, strict=not args.check_data)
    if args.check_data:
        check_data({"train": dataset, "val": validation}, config.names)
        return
    config = complete(config, dataset, pixels=dataset.check())
    validation.check()
    if dataset.stated:
        say(f"{dataset.stated} Masks are read as {dataset.reading}.")
    say(
        f"{len(dataset.image_info)} pictures to train on, {len(validation.image_info)} to validate "
        f"with, {config.num_classes} classes: {', '.join(config.names)}."
    )
    if config.weights:
        named = zip(config.names, config.weights, strict=True)
        say(
            "Class weights:",
            ", ".join(f"{n} {w:.4g}{'' if w else ' (no pixel)'}" for n, w in named),
        )
    if history:
        say(f"Going on after epoch {len(history)} of {config.epochs}, on their learning rates.")
    else:
        for name in RUN_FILES + REPORT_FILES:
            (folder / name).unlink(missing_ok=True)  # of the run that this one replaces
    write_json(folder / "config.json", dataclasses.asdict(config))
    history = train(config, dataset, validation, folder, history)
    draw_samples(folder / "samples.png", folder / "best.keras", validation)
    print(best_of(history, folder))


def best_of(history, folder):
    """Names the best epoch and its file."""
    best = max(history, key=lambda row: row["val_miou"])
    figure = f"{best['val_miou']:.4f} in epoch {best['epoch']}"
    return f"Best validation MIoU {figure}: {folder / 'best.keras'}"


if __name__ == "__main__":
    errors.run(main)
