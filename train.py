"""Trains a U-Net: python train.py --help."""

import importlib.util
import sys

from core.config import PRESETS, VOC_HOME
from core.support import backend, errors
from core.support.errors import UserError
from core.support.files import check_folder
from core.support.flags import Parser, add_data_flags
from core.support.trainflags import add_training_flags, parse_group, training_config


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
    add_training_flags(parser)
    parser.add_argument(
        "--output", metavar="DIR", help="the run's folder (default: runs/<dataset>)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start again, replacing the run in that folder"
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write logs for TensorBoard, where that is installed, into the run's folder",
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
    group = parse_group(args)
    if args.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise UserError("--tensorboard: the package tensorboard is missing. Install it with pip.")
    if args.summary:
        backend.start()
        backend.import_tensorflow()
        from core.support.devices import explained
        from core.training.fit import build
        from nets.summary import summary

        with explained(config):
            print(summary(build(config, pretrained=False), config.size))
        return
    from core.training.checkpoint import epochs_behind, finished

    history = [] if args.overwrite or args.check_data else epochs_behind(config, folder)
    if finished(history, config) and (folder / "samples.png").exists():
        flag = "--epochs" if len(history) >= config.epochs else "--patience"
        say(f"{folder}: the run is finished, after {len(history)} epochs. A larger {flag} goes on.")
        print(describe_best(history, folder))
        return
    if config.dataset == "sample" and not args.dataset:
        say(f"No VOC 2012 in {VOC_HOME} (see README.md): the data is the built-in sample.")

    if group:
        say(f"Waiting for {group[1]} processes to come together at {group[0]}.")
    backend.start(group)
    backend.import_tensorflow()
    from core.support.processes import joined

    with joined():
        run(args, config, folder, history)


def run(args, config, folder, history):
    """Checks the data and trains on it, or goes on after the epochs in `history`."""
    from core.sources.check import check_data
    from core.sources.choose import open_both
    from core.training.checkpoint import policy_behind
    from core.training.fit import complete, draw_samples, train

    dataset, validation = open_both(config, strict=not args.check_data)
    if args.check_data:
        check_data({"train": dataset, "val": validation}, config.names)
        return
    if history:
        config.policy = policy_behind(folder)
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
    say(f"Computing in {config.policy}.")
    if history:
        say(
            f"Going on after epoch {len(history)} of {config.epochs}; from there the learning rate "
            f"is that of a run of {config.epochs} epochs."
        )
    callbacks = []
    if args.tensorboard and not args.process_id:  # of several processes only the first one writes
        from keras.callbacks import TensorBoard

        callbacks.append(TensorBoard(folder / "tensorboard"))
    history = train(config, dataset, validation, folder, history, callbacks)
    if not args.process_id:
        draw_samples(folder / "samples.png", folder / "best.keras", validation)
    print(describe_best(history, folder))


def describe_best(history, folder):
    """Names the best epoch and its file."""
    from core.training.checkpoint import best_of

    best = best_of(history)
    figure = f"{best['val_miou']:.4f} in epoch {best['epoch']}"
    return f"Best validation MIoU {figure}: {folder / 'best.keras'}"


if __name__ == "__main__":
    errors.run(main)
