"""What a network can be built of, and the image sizes it takes; importable without Keras.

Importing Keras takes seconds. The flags are checked before that.
"""

from typing import NamedTuple

ARCHITECTURES = ("same", "paper", "reference")
NORMALIZATIONS = ("none", "batch", "group")
UPSAMPLINGS = ("nearest", "transpose")
DEPTH = 4  # how often the network halves the image without an encoder


class Encoder(NamedTuple):
    """A classification network that can be the encoder of a U-Net."""

    function: str  # its name in `keras.applications`, or "EfficientNetLite"
    levels: str  # the layers of the skip connections, finest first, and of the bottom
    scale: float | None = None  # of values 0..255; None if the network scales them itself
    offset: float | tuple[float, float, float] = 0.0  # added then; one number, or one a channel
    blue_first: bool = False  # whether its ImageNet weights expect blue, green, red
    halvings: int = 5  # how often it halves the image


_CAFFE = (1.0, (-123.68, -116.779, -103.939), True)  # scale, offset and blue first
ENCODERS = {
    "vgg16": Encoder(
        "VGG16",
        "block1_conv2 block2_conv2 block3_conv3 block4_conv3 block5_conv3",
        *_CAFFE,
        halvings=4,
    ),
    "resnet50": Encoder(
        "ResNet50",
        "conv1_relu conv2_block3_out conv3_block4_out conv4_block6_out conv5_block3_out",
        *_CAFFE,
    ),
    "mobilenet_v2": Encoder(
        "MobileNetV2",
        "expanded_conv_project_BN block_2_add block_5_add block_12_add block_16_project_BN",
        1 / 127.5,
        -1.0,
    ),
    "efficientnet_v2_b0": Encoder(
        "EfficientNetV2B0",
        "block1a_project_activation block2b_add block3b_add block5e_add block6h_add",
    ),
    "efficientnet_lite0": Encoder(
        "EfficientNetLite",
        "block1a_project_bn block2b_add block3b_add block5c_add block7a_project_bn",
        1 / 128,
        -127 / 128,
    ),
    "efficientnet_lite2": Encoder(
        "EfficientNetLite",
        "block1a_project_bn block2c_add block3c_add block5d_add block7a_project_bn",
        1 / 128,
        -127 / 128,
    ),
}
SHIPPED_ENCODER = "efficientnet_lite2"  # of weights/voc-animals.keras, from which own data starts


def check_size(
    height: int | None, width: int | None, architecture: str = "same", encoder: str | None = None
) -> None:
    """Makes sure that a network takes images of this size, in pixels; None stands for any size.

    The padded network takes multiples of 16, or of 32 if the encoder halves the image five times.
    In the paper's network every level's size must be even before it is halved. That holds for
    16 n + 12; 188 is the smallest and gives an output of 4.

    Raises:
        ValueError: if it does not; the message names the nearest possible sizes.
    """
    halvings = ENCODERS[encoder].halvings if encoder else DEPTH
    step = smallest = 2**halvings
    rule = f"multiples of {step}"
    if architecture == "paper":
        smallest, rule = 188, "16 n + 12, from 188 on"
    for side in (side for side in (height, width) if side is not None):
        above = max(smallest, side + (smallest - side) % step)
        if side != above:
            near = " or ".join(map(str, sorted({max(smallest, above - step), above})))
            raise ValueError(
                f"An image of {height}x{width} cannot be halved {halvings} times: height and width "
                f"must be {rule}. For {side} take {near}."
            )


def check_network(architecture, encoder, encoder_weights, normalization, upsampling):
    """Raises a ValueError if parts of a network do not go together; arguments as for `UNet`."""
    for what, value, known in (
        ("architecture", architecture, ARCHITECTURES),
        ("encoder", encoder, (None, *ENCODERS)),
        ("normalization", normalization, NORMALIZATIONS),
        ("upsampling", upsampling, (None, *UPSAMPLINGS)),
    ):
        if value not in known:
            raise ValueError(f"{what} must be one of {known}, got {value!r}.")
    other = {"paper": "nearest", "reference": "transpose"}.get(architecture)
    if other and (encoder or upsampling == other):
        raise ValueError(
            f"The {architecture}'s network has its own encoder and upsampling: architecture "
            f'{architecture} goes with neither an encoder nor upsampling="{other}".'
        )
    if encoder_weights and not encoder:
        raise ValueError(f"encoder_weights {encoder_weights} needs an encoder.")
