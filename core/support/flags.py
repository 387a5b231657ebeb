"""From the command line to the settings."""

import argparse
import dataclasses
from pathlib import Path

from core.config import PRESETS, VOC_HOME
from core.support.errors import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line."""

    def error(self, message):
        """Turns a parsing error into a UserError."""
        raise UserError(f"{message} (--help lists the flags).")


def names(text):
    """Parses `A,B,...`."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} must be names between commas, each once")
    return found


def whole_number(low, high=2**31 - 1):
    """Returns a parser for whole numbers from `low` to `high`."""

    def parse(text):
        value = int(text) if text.lstrip("+-").isdecimal() else low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} must be a whole number, at least {low} and at most {high}"
            )
        return value

    return parse


def share(text):
    """Parses a number between 0 and 1, both excluded."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number between 0 and 1")
    return value


def add_inference_flags(parser):
    """Adds the flags that say how a model looks at pictures."""
    parser.add_argument(
        "--tile",
        action=argparse.BooleanOptionalAction,
        help="cut pictures into overlapping tiles at their own resolution, instead of fitting them "
        "into the canvas (default: as trained)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="average over the mirror image, too, and on isbi and the sample over all turns",
    )


def add_data_flags(parser, default):
    """Adds the flags that say which data is meant; `default` says what goes without them."""
    group = parser.add_argument_group("data")
    group.add_argument("--dataset", choices=list(PRESETS), help=f"default: {default}")
    group.add_argument(
        "--data",
        metavar="DIR",
        help="where it is: for voc the folder that holds JPEGImages/, for isbi the folder that "
        "holds image/ and label/, or train-volume.tif and train-labels.tif, for own pictures the "
        "folder that holds images/ and masks/",
    )
    group.add_argument("--train-list", metavar="FILE", help="list of the training pictures")
    group.add_argument(
        "--val-list",
        metavar="FILE",
        help="list of the validation pictures; default for both: ImageSets/SegmentationAug/ "
        "where masks in SegmentationClassAug/ exist, else ImageSets/Segmentation/; for own "
        "pictures train.txt and val.txt",
    )
    group.add_argument(
        "--val-fraction",
        type=share,
        metavar="F",
        help="share kept for validation: of an isbi stack from its end, of own pictures drawn by "
        "the seed (default: 0.2)",
    )
    group.add_argument(
        "--classes",
        type=names,
        metavar="A,B,...",
        help="learn only these classes: renumbered in this order after the background, every "
        "other id becomes 255",
    )


def with_flags(config, args):
    """Returns the settings with every given flag of the same name in its place.

    Raises:
        UserError: if the flags contradict each other or the data set.
    """
    fields = {field.name for field in dataclasses.fields(config)}
    given = {k: v for k, v in vars(args).items() if k in fields and v is not None}
    if "data" in given:  # the lists of other data do not fit
        given = {"train_list": None, "val_list": None, **given}
    config = dataclasses.replace(config, **given)
    if config.dataset == "sample" and (args.data or args.train_list or args.val_list):
        raise UserError(
            "The sample has a place of its own: leave out --data and the lists, or take "
            "--dataset voc."
        )
    if config.dataset in ("isbi", "folder") and config.classes:
        raise UserError(f"--classes chooses among classes of VOC data, not of {config.dataset}.")
    unknown = [name for name in config.classes if name not in config.class_names[1:]]
    if unknown:
        raise UserError(
            f"--classes: '{unknown[0]}' is not one of {', '.join(config.class_names[1:])}."
        )
    paths = {name: getattr(config, name) for name in ("data", "train_list", "val_list")}
    # Whole paths, because a model is used from other folders than the one it was trained in.
    return dataclasses.replace(
        config, **{name: str(Path(path).resolve()) for name, path in paths.items() if path}
    )


def choose_dataset(args):
    """Names the data set that is meant: without a word about it, the sample where VOC is not."""
    if args.dataset:
        return args.dataset
    if args.data and (Path(args.data) / "images").is_dir():
        return "folder"
    return "voc" if args.data or args.train_list or Path(VOC_HOME).is_dir() else "sample"
