"""Trains a U-Net: python train.py --help."""

import importlib.util
import sys
import time

from core.sources.detect import DEFAULT, choose
from core.support import backend, errors, processes
from core.support.errors import UserError
from core.support.files import check_folder
from core.support.flags import Parser, add_settings, training_config, whole_number


def get_args():
    """Parses the command line; what is not given stays None and comes from preset or plan."""
    text = "Trains a U-Net; writes model, curves and samples into a folder."
    parser = Parser("python train.py --data my_data --minutes 10", description=text)
    add_settings(parser, "data", "network", "training", default=DEFAULT)
    options = {"type": whole_number(2, 255), "metavar": "N"}
    parser.add_argument("--num-classes", help="of own data (default: found)", **options)
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIR", help="the run's folder (default: runs/DATASET)")
    for flag, text in (
        ("--overwrite", "start again and replace the run in that folder"),
        ("--tensorboard", "also write logs for TensorBoard into the run's folder"),
        ("--check-data", "do not train: read every image and mask, report, draw check.png"),
        ("--summary", "do not train: describe the network and its cost"),
    ):
        output.add_argument(flag, help=text, action="store_true")
    processes.add_flags(parser)
    return parser.parse_args()


def say(*sentences):
    """Prints a note, if there is something to say."""
    if any(sentences):
        print(*sentences, file=sys.stderr)


def main():
    """Trains."""
    args, started = get_args(), time.monotonic()
    from core.training import checkpoint, transfer

    args.dataset, note = choose(args)
    config = training_config(args)
    folder = check_folder(args.output or f"runs/{config.dataset}")
    config = transfer.with_network(config, args, folder)
    group = processes.parse_group(args)
    if args.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise UserError("--tensorboard: the package tensorboard is missing. Install it with pip.")
    if args.summary and config.dataset != "folder":
        backend.start_training()
        importlib.import_module("core.training.facts").print_summary(config)
        return
    new = args.overwrite or args.check_data or args.summary
    config = config if new else checkpoint.as_begun(config, args, folder)
    history = [] if new else checkpoint.epochs_behind(config, folder)
    if checkpoint.was_finished(history, config, folder):
        return
    if group:
        say(f"Waiting for {group[1]} processes to come together at {group[0]}.")
    backend.start_training(group)
    with processes.joined():
        run(args, config, folder, history, started, note)


def run(args, config, folder, history, started, note):
    """Checks the data and trains on it, or resumes after the epochs in `history`."""
    from core.evaluation.check import check_data, draw_check
    from core.evaluation.samples import draw_samples
    from core.prediction.model_file import read_settings
    from core.sources.cache import Index
    from core.sources.choose import classes_writer, open_both, planned, with_classes
    from core.training import checkpoint, transfer
    from core.training.facts import print_summary
    from core.training.fit import find_out, train

    first = not args.process_id  # of several processes only the first one writes
    before, kept = read_settings(folder / "last.keras") if history else (config, None)
    split = history and checkpoint.read_split(folder)
    index = Index(folder, write=first)
    dataset, validation = open_both(config, not args.check_data, split, kept, index)
    if history and dataset.drawn:
        raise UserError(f"{folder}: lacks its split.json. Put it back, or add --overwrite.")
    if args.check_data:
        say(note)
        check_data({"train": dataset, "val": validation}, with_classes(config, dataset).names)
    config, dataset, validation, plan = planned(config, args, dataset, validation, started, history)
    if args.summary:
        print_summary(config)
        return
    if config.init_weights and not history:
        config = transfer.begin(config, args, dataset, validation)
    if args.check_data:
        draw_check(folder / "check.png", dataset, config.names, plan)
        return
    found = find_out(config, dataset, dataset.check(), kept)
    validation.check()
    say(note)  # now, so that an error before is the only line
    say(dataset.stated)
    say(plan)
    images = f"{len(dataset.names)} images to train on, {len(validation.names)} to validate with"
    say(f"{images}, {config.num_classes} classes: {', '.join(config.names)}.")
    say(checkpoint.describe_found(config, found))
    if history:
        say(checkpoint.describe_resuming(history, before, config, index.changed))
    callbacks = [classes_writer(folder, config, found)] if first and dataset.class_names else []
    if args.tensorboard and first:
        board = importlib.import_module("keras").callbacks.TensorBoard
        callbacks.append(board(folder / "tensorboard"))
    history = train(config, found, dataset, validation, folder, history, callbacks)
    if first:
        draw_samples(folder / "samples.png", folder / "best.keras", validation)
    checkpoint.print_best(history, folder)


if __name__ == "__main__":
    errors.run(main)
