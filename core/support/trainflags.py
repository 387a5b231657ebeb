"""The flags of train.py, and from them to the settings."""

import argparse
import dataclasses
import re
from pathlib import Path

from core.config import (
    IGNORE,
    LOSSES,
    OPTIMIZERS,
    PAPER,
    PIXEL_LOSSES,
    PRECISIONS,
    PRESETS,
    loss_terms,
)
from core.support.errors import UserError
from core.support.flags import choose_dataset, names, whole_number, with_flags
from core.support.netflags import add_network_flags, check_network


def parse_loss(text):
    """Parses a loss, or a sum of losses as `A+B`; returns the same in the order of `LOSSES`."""
    try:
        terms = loss_terms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return "+".join(sorted(terms, key=LOSSES.index))


def add_training_flags(parser):
    """Adds the flags that replace settings of the preset."""
    number = whole_number(1)
    parser.add_argument(
        "--num-classes",
        type=whole_number(2, IGNORE),
        metavar="N",
        help="for own data: how many classes, background included",
    )
    parser.add_argument(
        "--class-names", type=names, metavar="A,B,...", help="the same, background first"
    )
    parser.add_argument(
        "--size",
        type=number,
        nargs=2,
        metavar=("H", "W"),
        help="the canvas; multiples of 16, with most encoders of 32",
    )
    parser.add_argument("--epochs", type=number, metavar="N")
    parser.add_argument("--batch-size", type=number, metavar="N")
    parser.add_argument(
        "--optimizer", choices=OPTIMIZERS, help="sgd has a momentum of 0.99 (default: adam)"
    )
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
        help="balanced: the rarer a class among the training pixels, the more it weighs, in "
        "crossentropy and focal (default: none)",
    )
    parser.add_argument(
        "--loss",
        type=parse_loss,
        metavar="A[+B...]",
        help=f"{', '.join(LOSSES)}, or a sum of them (default: crossentropy)",
    )
    parser.add_argument(
        "--border-weight",
        action="store_true",
        default=None,
        help="let the background between objects that almost touch weigh more",
    )
    parser.add_argument(
        "--ignored-as-background",
        action="store_true",
        default=None,
        help="learn what masks leave open, and the padding, as background, as the original project "
        "did; to compare",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the computation: bfloat16 and float16 stand for mixed precision, auto for the "
        "fastest that the processor does itself (default: auto)",
    )
    parser.add_argument(
        "--patience", type=number, metavar="N", help="stop after N epochs without a better one"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), metavar="N", help="default: 0")
    parser.add_argument(
        "--workers", type=number, metavar="N", help="threads that prepare pictures (default: 2)"
    )
    add_network_flags(parser)
    group = parser.add_argument_group("instead of training")
    group.add_argument(
        "--check-data",
        action="store_true",
        help="read every picture and mask, report what is wrong and the pixels per class",
    )
    group.add_argument(
        "--summary",
        action="store_true",
        help="print the network's layers, its parameters, how far it sees, and the operations that "
        "it takes for the canvas",
    )
    group = parser.add_argument_group(
        "several machines", "for KERAS_BACKEND=jax; the other flags are the same on all of them"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="a free port on machine 0")
    group.add_argument("--num-processes", type=whole_number(2), metavar="N", help="how many")
    group.add_argument(
        "--process-id", type=whole_number(0), metavar="I", help="which one this is, from 0"
    )


def parse_group(args):
    """Returns coordinator, number of processes and the number of this one, or None for just one.

    Raises:
        UserError: if they do not go together.
    """
    group = args.coordinator, args.num_processes, args.process_id
    if group == (None, None, None):
        return None
    if None in group or args.process_id >= args.num_processes:
        raise UserError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I, from 0 to N - 1, must "
            "be given together."
        )
    if not re.fullmatch(r".+:\d+", args.coordinator):
        raise UserError(f"--coordinator {args.coordinator}: must be HOST:PORT.")
    return group


def training_config(args):
    """Makes the settings of a training: the data set's preset with the flags in place.

    Raises:
        UserError: if a setting cannot work.
    """
    dataset = choose_dataset(args)
    if args.size:
        args.size = tuple(args.size)
    if args.encoder_weights not in (None, "none", "imagenet"):
        args.encoder_weights = str(Path(args.encoder_weights).resolve())
    if args.lr is not None and not 0 < args.lr < float("inf"):
        raise UserError(f"--lr {args.lr}: the learning rate must be a number above 0.")
    if args.num_classes and not args.class_names:
        args.class_names = ("background", *(f"class{i}" for i in range(1, args.num_classes)))
    if args.class_names:
        if dataset not in ("voc", "folder"):
            raise UserError(f"--class-names and --num-classes are for own data, not for {dataset}.")
        if len(args.class_names) != (args.num_classes or len(args.class_names)):
            raise UserError(
                f"--class-names has {len(args.class_names)} names, --num-classes "
                f"{args.num_classes}."
            )
        if len(args.class_names) > IGNORE:
            raise UserError(f"A mask has room for {IGNORE} classes, {IGNORE} itself means ignored.")
    elif dataset == "folder":
        raise UserError(
            f"{args.data or '--dataset folder'}: own pictures need --num-classes N, background "
            "included, or --class-names background,A,B,..."
        )
    if dataset == "folder" and not args.data:
        raise UserError("--dataset folder needs --data, the folder with images/ and masks/.")
    paper = PAPER if args.architecture == "paper" else {}
    config = with_flags(dataclasses.replace(PRESETS[dataset], **paper), args)
    check_network(config, args)
    weighs = config.border_weight or config.class_weights != "none"
    if weighs and not set(loss_terms(config.loss)) & set(PIXEL_LOSSES):
        raise UserError(
            f"--class-weights and --border-weight go with {' and '.join(PIXEL_LOSSES)}; --loss "
            f"{config.loss} looks at whole classes already."
        )
    return config
