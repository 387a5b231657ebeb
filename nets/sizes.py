"""What the networks can be built of, and the sizes of pictures that they take; without Keras.

So the flags can be checked before the seconds that importing Keras takes.
"""

ARCHITECTURES = ("same", "paper")
NORMALIZATIONS = ("none", "batch", "group")
UPSAMPLINGS = ("nearest", "transpose")
ENCODERS = {  # and how often each halves the picture
    "vgg16": 4,
    "resnet50": 5,
    "mobilenet_v2": 5,
    "efficientnet_v2_b0": 5,
    "efficientnet_lite0": 5,
}
DEPTH = 4  # times that the picture is halved without an encoder


def halvings(encoder=None):
    """Returns how often a network halves the picture."""
    return ENCODERS[encoder] if encoder else DEPTH


def border(architecture="same"):
    """Returns by how many pixels the output begins and ends inside the input.

    Two unpadded 3x3 convolutions take 2 pixels off each side, which are `2 * 2**level` of the
    input's: on every level on the way down and on the way up, and once at the bottom. That is 92.
    """
    return 2 * (2 * (2**DEPTH - 1) + 2**DEPTH) if architecture == "paper" else 0


def crop(level):
    """Returns the pixels that a skip of the paper's network loses on each side: 4, 16, 40, 88.

    At the deepest level what comes up has lost the 2 of the bottom, doubled. From one level to the
    next, 2 more have gone on the way up and 2 on the way down, all of them doubled:
    `c -> 2 (c + 4)`.

    Args:
        level: 0 for the first, which has the picture's own resolution.
    """
    return 6 * 2 ** (DEPTH - level) - 8


def fitting(side, architecture="same", encoder=None):
    """Returns the smallest possible side of an input picture that is not below `side`.

    Multiples of 16 or, where an encoder halves the picture five times, of 32. In the paper's
    network every level's size must come out even: `16 n + 12`, at least 188 for an output of 4.
    """
    step = 2 ** halvings(encoder)
    smallest = 2 * border(architecture) + 4 if architecture == "paper" else step
    return max(smallest, side + (smallest - side) % step)


def check_size(height, width, architecture="same", encoder=None):
    """Makes sure that a network takes pictures of this size; None stands for any that it takes.

    Raises:
        ValueError: if not; it names sizes that are possible.
    """
    for side in (height, width):
        if side is None or fitting(side, architecture, encoder) == side:
            continue
        step = 2 ** halvings(encoder)
        above = fitting(side, architecture, encoder)
        below = max(above - step, fitting(0, architecture, encoder))
        near = f"{above}" if above == below else f"{below} or {above}"
        rule = f"multiples of {step}"
        if architecture == "paper":
            rule = f"{step} n + {above % step}, from {fitting(0, architecture)} on"
        raise ValueError(
            f"A picture of {height}x{width} cannot be halved {halvings(encoder)} times: height and "
            f"width must be {rule}. For {side} take {near}."
        )


def check_network(
    size=(None, None),
    architecture="same",
    encoder=None,
    encoder_weights=None,
    normalization="none",
    upsampling=None,
):
    """Makes sure that the parts of a network go together; the arguments are those of `UNet`.

    Raises:
        ValueError: if they do not.
    """
    for what, value, known in (
        ("architecture", architecture, ARCHITECTURES),
        ("encoder", encoder, (None, *ENCODERS)),
        ("normalization", normalization, NORMALIZATIONS),
        ("upsampling", upsampling, (None, *UPSAMPLINGS)),
    ):
        if value not in known:
            raise ValueError(f"{what} must be one of {known}, got {value!r}.")
    if architecture == "paper" and (encoder or upsampling == "nearest"):
        raise ValueError(
            "architecture paper has its own encoder and upsampling: it goes with neither encoder "
            "nor upsampling nearest."
        )
    if encoder_weights and not encoder:
        raise ValueError(f"encoder_weights {encoder_weights} needs an encoder.")
    check_size(*size, architecture, encoder)
