"""The flags of train.py that choose the network, and what of them goes together."""

from core.support.errors import UserError
from core.support.flags import whole_number
from nets.sizes import ARCHITECTURES, ENCODERS, NORMALIZATIONS, UPSAMPLINGS, check_size


def add_network_flags(parser):
    """Adds the flags that replace the preset's settings of the network."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--filters", type=whole_number(1), metavar="N", help="filters of the first level"
    )
    group.add_argument(
        "--architecture",
        choices=ARCHITECTURES,
        help="same: padded convolutions; paper: unpadded ones, for which pictures are mirrored "
        "beyond their edges, by default with 64 filters, no normalization and a lr of 1e-4, and on "
        "isbi the paper's augmentation (default: same)",
    )
    group.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="between convolutions and their ReLU (default: batch; --architecture paper: none)",
    )
    group.add_argument(
        "--upsampling",
        choices=UPSAMPLINGS,
        help="nearest neighbours and a 2x2 convolution, or a transposed convolution (default: "
        "nearest; --architecture paper: transpose, it has no other)",
    )
    group.add_argument(
        "--encoder",
        choices=("none", *ENCODERS),
        help="a known network in place of the U-Net's own way down (default: none)",
    )
    group.add_argument(
        "--encoder-weights",
        metavar="W",
        help="what it begins with: none, imagenet, or a FILE in Keras' format for that network "
        "without its top (default: none)",
    )
    group.add_argument(
        "--freeze-encoder",
        type=whole_number(0),
        metavar="N",
        help="keep these weights as they are for the first N epochs (default: 0)",
    )
    group.add_argument(
        "--encoder-lr-factor",
        type=float,
        metavar="X",
        help="their learning rate as a share of the others' (default: 0.1)",
    )


def check_network(config, args):
    """Makes sure that the settings of the network go together.

    Args:
        config: the `Config` with the flags in place.
        args: the flags.

    Raises:
        UserError: if they do not.
    """
    if config.architecture == "paper":
        if config.encoder != "none" or config.upsampling == "nearest":
            raise UserError(
                "--architecture paper has its own way down and its own way to double: leave out "
                "--encoder and --upsampling nearest."
            )
    else:  # for the paper's network, what is around the canvas is made to fit
        encoder = None if config.encoder == "none" else config.encoder
        try:
            check_size(*config.size, encoder=encoder)
        except ValueError as error:
            raise UserError(f"--size {config.size[0]} {config.size[1]}: {error}") from error
    if config.encoder == "none" and config.encoder_weights != "none":
        raise UserError(
            f"--encoder-weights {config.encoder_weights}: name their network with --encoder."
        )
    factor = args.encoder_lr_factor
    if config.encoder_weights == "none" and (config.freeze_encoder or factor is not None):
        raise UserError(
            "--freeze-encoder and --encoder-lr-factor are for an encoder that has learnt "
            "something: add --encoder-weights."
        )
    if factor is not None and not 0 < factor <= 1:
        raise UserError(f"--encoder-lr-factor {factor}: must be above 0 and at most 1.")
