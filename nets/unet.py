"""U-Net as a Keras functional model.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015 (https://arxiv.org/abs/1505.04597): as the paper has it, and, by default, in the variant
with same-padded convolutions, whose logits are as large as the picture. The way down may also be a
known classification network, see encoders.py.
"""

import math

import keras
from keras import layers

from nets.encoders import encode
from nets.sizes import DEPTH, check_network, crop


def UNet(
    input_shape=(320, 320, 3),
    num_classes=21,
    filters=64,
    *,
    architecture="same",
    encoder=None,
    encoder_weights=None,
    normalization="none",
    upsampling=None,
    dropout=0.5,
    l2=5e-4,
    name="unet",
):
    """Builds a U-Net that maps pictures to one logit per pixel and class.

    Five levels of two 3x3 convolutions with ReLU, `filters` wide at the first level and twice as
    wide at each next one, 2x2 max-pooling between them and dropout after the fourth level and the
    bottom. On the way up each level is doubled in size, by a 2x2 convolution, and concatenated
    behind the features of the same level on the way down. A 1x1 convolution makes the logits.

    Args:
        input_shape: `(height, width, channels)`; height and width are such that the picture can be
            halved, see `nets.sizes.check_size`, or None for a model that takes any such size.
        num_classes: number of classes, background included.
        filters: filters of the first level, 64 in the paper.
        architecture: "same" for same-padded convolutions. "paper" for unpadded ones, whose skips
            are cropped: the output is 92 pixels smaller than the picture on each side.
        encoder: name of a classification network that is the way down, see `nets.sizes.ENCODERS`;
            it scales the pictures as it is used to. Its first level has no skip if the network
            begins at half the resolution. None for the U-Net's own way down.
        encoder_weights: "imagenet", a file, or None for random ones, see `encoders.encode`.
        normalization: "none" as in the paper, or "batch" or "group" for batch normalization or
            group normalization (8 groups) between every convolution and its ReLU. It concerns the
            way up alone if there is an encoder.
        upsampling: "nearest" for nearest-neighbour upsampling before the 2x2 convolution,
            "transpose" for a transposed 2x2 convolution of stride 2. None takes the first, and in
            the paper's network, which has no other, the second.
        dropout: share of the features dropped after the fourth level and the bottom; with an
            encoder, after the bottom.
        l2: L2 penalty on every kernel that is not the encoder's, 0 for none.
        name: name of the model.

    Returns:
        A `keras.Model`. Input: `[B, H, W, C]`, values 0..255 of any dtype, scaled by the model's
        first layers. Output: float32 logits `[B, H, W, num_classes]`, or
        `[B, H - 184, W - 184, num_classes]` in the paper's network.

    Raises:
        ValueError: if a size, a number, a combination or the encoder's weights are impossible.
        OSError: if the encoder's weights are not there and cannot be downloaded.
    """
    _check_numbers(input_shape, num_classes, filters)
    check_network(
        input_shape[:2], architecture, encoder, encoder_weights, normalization, upsampling
    )
    unpadded = architecture == "paper"
    upsampling = upsampling or ("transpose" if unpadded else "nearest")
    blocks = _Blocks(normalization, upsampling, "valid" if unpadded else "same", l2)

    inputs = keras.Input(input_shape, name="picture")
    if encoder:
        skips, x = encode(inputs, encoder, encoder_weights)
    else:
        skips, x = [], layers.Rescaling(1 / 255, name="rescale")(inputs)
        for level in range(DEPTH):
            x = blocks.two_convs(x, filters * 2**level, f"down{level + 1}")
            if level == DEPTH - 1:
                x = layers.Dropout(dropout, name=f"down{level + 1}_dropout")(x)
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
        x = blocks.two_convs(x, filters * 2**DEPTH, "bottom")
    x = layers.Dropout(dropout, name="bottom_dropout")(x)

    for level, skip in reversed(list(enumerate(skips))):
        up, width = f"up{level + 1}", filters * 2**level
        x = blocks.double(x, width, up)
        if unpadded:
            skip = layers.Cropping2D(crop(level), name=f"{up}_crop")(skip)
        if skip is not None:
            x = layers.Concatenate(name=f"{up}_concat")([skip, x])
        x = blocks.two_convs(x, width, up)

    logits = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer="he_normal" if unpadded else "glorot_uniform",
        kernel_regularizer=blocks.penalty(),
        dtype="float32",  # the loss wants float32 also where the layers before compute in less
        name="logits",
    )(x)
    return keras.Model(inputs, logits, name=name)


class _Blocks:
    """The convolutions of one U-Net, which share all options but their width and size."""

    def __init__(self, normalization, upsampling, padding, l2):
        self.normalization = normalization
        self.upsampling = upsampling
        self.padding = padding
        self.l2 = l2

    def penalty(self):
        return keras.regularizers.L2(self.l2) if self.l2 else None

    def conv(self, x, width, size, name, padding=None):
        x = layers.Conv2D(
            width,
            size,
            padding=padding or self.padding,
            kernel_initializer="he_normal",
            **self._options(name),
        )(x)
        return self._normalized(x, name)

    def two_convs(self, x, width, name):
        x = self.conv(x, width, 3, f"{name}_conv1")
        return self.conv(x, width, 3, f"{name}_conv2")

    def double(self, x, width, name):
        """Doubles height and width by the paper's "up-convolution"."""
        if self.upsampling == "nearest":
            x = layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_upsample")(x)
            return self.conv(x, width, 2, f"{name}_upconv", "same")
        # He's deviation: an output pixel is made of one pixel's features. "he_normal" would count
        # the outputs instead, and all four places of the kernel.
        deviation = math.sqrt(2 / x.shape[-1])
        x = layers.Conv2DTranspose(
            width,
            2,
            strides=2,
            kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
            **self._options(f"{name}_upconv"),
        )(x)
        return self._normalized(x, f"{name}_upconv")

    def _options(self, name):
        alone = self.normalization == "none"
        return {
            "activation": "relu" if alone else None,
            "use_bias": alone,
            "kernel_regularizer": self.penalty(),
            "name": name,
        }

    def _normalized(self, x, name):
        if self.normalization == "none":
            return x
        if self.normalization == "batch":
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        else:
            groups = math.gcd(8, x.shape[-1])  # as many as divide the features
            x = layers.GroupNormalization(groups, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)


def _check_numbers(input_shape, num_classes, filters):
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (height, width, channels), got {input_shape}.")
    if not input_shape[2] or input_shape[2] < 1:
        raise ValueError(f"The number of channels must be given in input_shape, got {input_shape}.")
    if num_classes < 2:
        raise ValueError(
            f"num_classes counts the background and must be at least 2, got {num_classes}."
        )
    if filters < 1:
        raise ValueError(f"filters must be at least 1, got {filters}.")
