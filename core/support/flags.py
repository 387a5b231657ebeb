"""From the command line to the settings: the flags are made from the fields of `Config`."""

import argparse
import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path

from core.config import (
    IGNORE,
    LOSSES,
    PIXEL_LOSSES,
    PRESETS,
    RECIPES,
    Config,
    check_canvas,
    default_names,
    loss_terms,
)
from core.support.errors import UserError
from core.support.files import settle_folders
from nets.sizes import SHIPPED_ENCODER, check_network

_FIELDS = {field.name: field for field in dataclasses.fields(Config)}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line; `example` ends its help."""

    def __init__(self, example: str = "", **options):
        look = functools.partial(argparse.HelpFormatter, max_help_position=32)
        options = {"formatter_class": look} | options
        super().__init__(epilog=example and f"Example: {example}", **options)
        self.usage = "%(prog)s [flags]"

    def error(self, message):
        """Turns a parsing error into a UserError."""
        raise UserError(f"{message} (--help lists the flags).")


def number(fits: Callable, rule: str, kind: type = float) -> Callable:
    """Returns a parser for the numbers for which `fits` is true; `rule` says which they are."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not fits(value):
            what = "whole number," if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} must be a {what} {rule}")
        return value

    return parse


def whole_number(low: int, high: int = 2**31 - 1) -> Callable:
    """Returns a parser for whole numbers from `low` to `high`."""
    return number(lambda x: low <= x <= high, f"at least {low} and at most {high}", int)


def parse_names(text: str) -> tuple[str, ...]:
    """Parses `A,B,...`, each name once."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} must be names between commas, each once")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no Unicode. Save the script that holds it as UTF-8"
        ) from None
    return found


def parse_loss(text: str) -> str:
    """Parses a loss, or a sum of losses as `A+B`; returns the same in the order of `LOSSES`."""
    try:
        terms = loss_terms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return "+".join(sorted(terms, key=LOSSES.index))


# What differs from the usual parsing: integers are at least 1, everything else is text.
_PARSING = {
    "dataset": {"choices": PRESETS},
    **dict.fromkeys(("data", "images", "masks"), {"metavar": "DIR"}),
    **dict.fromkeys(("class_table", "train_list", "val_list"), {"metavar": "FILE"}),
    "val_fraction": {"type": number(lambda x: 0 < x < 1, "between 0 and 1"), "metavar": "F"},
    **dict.fromkeys(("classes", "class_names"), {"type": parse_names, "metavar": "A,B,..."}),
    "intensity": {
        "type": number(math.isfinite, "that is finite"),
        "nargs": 2,
        "metavar": ("LOW", "HIGH"),
    },
    **dict.fromkeys(("size", "crop"), {"type": whole_number(1), "nargs": 2, "metavar": ("H", "W")}),
    "channels": {"type": int},
    "repeats": {"type": number(lambda x: 0 < x < 1e6, "above 0"), "metavar": "X"},
    "minutes": {"type": number(lambda x: 0 < x < 1e6, "above 0"), "metavar": "N"},
    "init_weights": {"metavar": "PATH"},
    "encoder": {"type": str, "metavar": "NAME"},  # too many to name
    "encoder_weights": {"metavar": "W"},
    "freeze_encoder": {"type": whole_number(0), "metavar": "N"},
    "encoder_lr_factor": {
        "type": number(lambda x: 0 < x <= 1, "above 0 and at most 1"),
        "metavar": "X",
    },
    "loss": {"type": parse_loss, "metavar": "A[+B...]"},
    "lr": {"type": number(lambda x: 0 < x < float("inf"), "above 0"), "metavar": "X"},
    "seed": {"type": whole_number(0, 2**32 - 1), "metavar": "N"},
}


def add_settings(
    parser: argparse.ArgumentParser, *groups: str, default: str = "", presets: bool = True
) -> None:
    """Adds the flags of groups of `Config`'s fields: data, network or training.

    A flag that is not given stays None. `default` says in words which data set is the default. With
    `presets`, the help of the other flags names the defaults of the presets.
    """
    for title in groups:
        group = parser.add_argument_group(title)
        for name, field in _FIELDS.items():
            if field.metadata["group"] != title:
                continue
            flag, options = f"--{name.replace('_', '-')}", {}
            if field.type is bool:
                flag = flag.replace("--", "--no-") if field.default else flag
                options["action"] = "store_false" if field.default else "store_true"
            elif field.metadata["choices"]:
                options["choices"] = field.metadata["choices"]
            elif field.type in (int, int | None):
                options |= {"type": whole_number(1), "metavar": "N"}
            text = field.metadata["help"]
            if presets or name == "dataset":
                text += f" (default: {default})" if name == "dataset" else _default(name, text)
            options |= {"dest": name, "default": None, **_PARSING.get(name, {})}
            if "choices" in options and "type" not in options:
                text = text.strip()
                text = f"{', '.join(options['choices'])}{' ' if text[:1] == '(' else '; '}{text}"
                options["metavar"] = "KIND"
            options["help"] = text
            place = group.add_mutually_exclusive_group() if name == "crop" else group
            place.add_argument(flag, **options)
            if name == "crop":
                options = {"dest": name, "action": "store_const", "const": ()}
                place.add_argument("--no-crop", help="train on whole images", **options)


def _default(name, text):
    """The default in words, or those of all presets where they differ."""
    shown = {}
    for preset, config in PRESETS.items():
        value = getattr(config, name)
        shown[preset] = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    first = shown["voc"]
    if "(default" in text or name == "class_names" or first in ("", "None", "True", "False"):
        return ""
    if len(set(shown.values())) == 1:
        return f" (default: {first})"
    listed = ", ".join(f"{preset} {value}" for preset, value in shown.items() if value != "None")
    return f" (default: {listed})"


def given_intensity(args: argparse.Namespace) -> tuple | None:
    """Returns the range of `--intensity`, None without it; a UserError if it is no range."""
    low, high = args.intensity or (0, 1)
    if not low < high:
        raise UserError(f"--intensity {low:g} {high:g}: LOW must be less than HIGH.")
    return (low, high) if args.intensity else None


def with_flags(config: Config, args: argparse.Namespace) -> Config:
    """Returns the settings with every given flag in its place; a UserError if these clash."""
    settle_folders(args)
    given = {k: v for k, v in vars(args).items() if k in _FIELDS and v is not None}
    given |= {"intensity": given_intensity(args)} if args.intensity else {}
    given |= {"crop": tuple(given["crop"]) or None} if "crop" in given else {}
    if "data" in given:  # the lists, folders and classes of other data do not fit
        others = "train_list", "val_list", "images", "masks", "class_table"
        given = dict.fromkeys(others) | given
    config = dataclasses.replace(config, **given)
    if config.dataset == "sample" and (args.data or args.train_list or args.val_list):
        raise UserError(
            "The sample has a place of its own: leave out --data and the lists, or take "
            "--dataset voc."
        )
    if args.images and config.dataset != "folder":
        raise UserError("--images and --masks are for own data: add --dataset folder.")
    if config.dataset in ("isbi", "folder") and config.classes:
        raise UserError(f"--classes chooses among classes of VOC data, not of {config.dataset}.")
    for name in config.classes:
        if name not in config.class_names[1:]:
            known = ", ".join(config.class_names[1:])
            raise UserError(f"--classes: '{name}' is not one of {known}.")
    # Whole paths, because a model is used from other folders than the one it was trained in.
    named = "data", "train_list", "val_list", "class_table", "init_weights"
    paths = {name: getattr(config, name) for name in named}
    if config.encoder_weights not in ("none", "imagenet"):
        paths["encoder_weights"] = config.encoder_weights
    return dataclasses.replace(
        config, **{name: str(Path(path).resolve()) for name, path in paths.items() if path}
    )


def training_config(args: argparse.Namespace) -> Config:
    """Makes the settings of a training, or raises a UserError for one that cannot work."""
    settle_folders(args)
    dataset = args.dataset
    args.size = args.size and tuple(args.size)
    if dataset == "folder" and args.encoder_weights and not args.encoder:
        args.encoder = SHIPPED_ENCODER  # as the plan would choose
    _check_classes(args, dataset)
    recipe = RECIPES[args.architecture or "same"]
    config = with_flags(dataclasses.replace(PRESETS[dataset], **recipe), args)
    encoder = None if config.encoder == "none" else config.encoder
    pretrained = None if config.encoder_weights == "none" else config.encoder_weights
    try:
        check_network(
            config.architecture, encoder, pretrained, config.normalization, config.upsampling
        )
        if not config.init_weights:  # else the network is the model's, which is not yet known
            check_canvas(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    learnt = pretrained or config.init_weights
    if not learnt and (config.freeze_encoder or args.encoder_lr_factor is not None):
        raise UserError(
            "--freeze-encoder and --encoder-lr-factor are for an encoder that has learnt "
            "something: add --encoder-weights."
        )
    weighs = config.border_weight or config.class_weights != "none"
    if weighs and not set(loss_terms(config.loss)) & set(PIXEL_LOSSES):
        raise UserError(
            f"--class-weights and --border-weight go with {' and '.join(PIXEL_LOSSES)}; --loss "
            f"{config.loss} looks at whole classes already."
        )
    return config


def _check_classes(args, dataset):
    """Makes sure that the classes go with the data set; names them where only their number is."""
    if args.num_classes and not args.class_names:
        args.class_names = default_names(args.num_classes)
    if args.class_names:
        if dataset not in ("voc", "folder"):
            raise UserError(f"--class-names and --num-classes are for own data, not for {dataset}.")
        count = len(args.class_names)
        if count != (args.num_classes or count):
            raise UserError(f"--class-names has {count} names, --num-classes {args.num_classes}.")
        if count > IGNORE:
            raise UserError(f"A mask has room for {IGNORE} classes, {IGNORE} itself means ignored.")
    if dataset == "folder" and not args.data:
        raise UserError("--dataset folder: own images need --data with images/ and masks/.")
    if args.class_table and dataset != "folder":
        raise UserError(f"--class-table is for own data, not for {dataset}.")
