"""U-Net as a Keras functional model.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015 (https://arxiv.org/abs/1505.04597), in the variant with same-padded convolutions, so
that the logits are as large as the picture.
"""

import keras
from keras import layers

DEPTH = 4  # times that the picture is halved
MULTIPLE = 2**DEPTH  # height and width must be divisible by this
NORMALIZATIONS = ("none", "batch")


def UNet(
    input_shape=(320, 320, 3),
    num_classes=21,
    filters=64,
    *,
    normalization="none",
    dropout=0.5,
    l2=5e-4,
    name="unet",
):
    """Builds a U-Net that maps pictures to one logit per pixel and class.

    Five levels of two 3x3 convolutions with ReLU, `filters` wide at the first level and twice as
    wide at each next one, 2x2 max-pooling between them and dropout after the fourth level and the
    bottom. On the way up nearest-neighbour upsampling followed by a 2x2 convolution, concatenated
    behind the features of the same level on the way down. A 1x1 convolution makes the logits.

    Args:
        input_shape: `(height, width, channels)`; height and width are multiples of 16, or None for
            a model that takes pictures of any such size.
        num_classes: number of classes, background included.
        filters: filters of the first level, 64 in the paper.
        normalization: "none" as in the paper, or "batch" for batch normalization between every
            convolution and its ReLU.
        dropout: share of the features dropped after the fourth level and the bottom.
        l2: L2 penalty on every kernel, 0 for none.
        name: name of the model.

    Returns:
        A `keras.Model`. Input: `[B, H, W, C]`, values 0..255 of any dtype, scaled to 0..1 by the
        model's first layer. Output: float32 logits `[B, H, W, num_classes]`.

    Raises:
        ValueError: if a size or a number is impossible.
    """
    _check_arguments(input_shape, num_classes, filters, normalization)

    def penalty():
        return keras.regularizers.L2(l2) if l2 else None

    def conv(x, width, size, name):
        x = layers.Conv2D(
            width,
            size,
            padding="same",
            activation="relu" if normalization == "none" else None,
            use_bias=normalization == "none",
            kernel_initializer="he_normal",
            kernel_regularizer=penalty(),
            name=name,
        )(x)
        if normalization == "batch":
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        return x

    def two_convs(x, width, name):
        return conv(conv(x, width, 3, f"{name}_conv1"), width, 3, f"{name}_conv2")

    inputs = keras.Input(input_shape, name="picture")
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)

    skips = []
    for level in range(DEPTH):
        x = two_convs(x, filters * 2**level, f"down{level + 1}")
        if level == DEPTH - 1:
            x = layers.Dropout(dropout, name=f"down{level + 1}_dropout")(x)
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)

    x = two_convs(x, filters * MULTIPLE, "bottom")
    x = layers.Dropout(dropout, name="bottom_dropout")(x)

    for level in reversed(range(DEPTH)):
        width = filters * 2**level
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"up{level + 1}_upsample")(x)
        x = conv(x, width, 2, f"up{level + 1}_upconv")
        x = layers.Concatenate(name=f"up{level + 1}_concat")([skips[level], x])
        x = two_convs(x, width, f"up{level + 1}")

    logits = layers.Conv2D(
        num_classes,
        1,
        kernel_regularizer=penalty(),
        dtype="float32",  # the loss wants float32 also where the layers before compute in less
        name="logits",
    )(x)
    return keras.Model(inputs, logits, name=name)


def _check_arguments(input_shape, num_classes, filters, normalization):
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (height, width, channels), got {input_shape}.")
    height, width, channels = input_shape
    for side in (height, width):
        if side is not None and (side < MULTIPLE or side % MULTIPLE):
            raise ValueError(
                f"A picture of {height}x{width} cannot be halved {DEPTH} times: height and width "
                f"must be multiples of {MULTIPLE}, or None for any such size."
            )
    if not channels or channels < 1:
        raise ValueError(f"The number of channels must be given in input_shape, got {input_shape}.")
    if num_classes < 2:
        raise ValueError(
            f"num_classes counts the background and must be at least 2, got {num_classes}."
        )
    if filters < 1:
        raise ValueError(f"filters must be at least 1, got {filters}.")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {NORMALIZATIONS}, got {normalization!r}.")
