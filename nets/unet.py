"""U-Net as a Keras functional model.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015 (https://arxiv.org/abs/1505.04597). By default the convolutions are padded, so the
logits are as large as the image; "paper" builds the network of the paper.
"""

import dataclasses
import math

import keras
from keras import layers

from nets.encoders import encode
from nets.sizes import DEPTH, check_network, check_size


def UNet(
    input_shape: tuple[int | None, ...] = (320, 320, 3),
    num_classes: int = 21,
    filters: int = 64,
    *,
    architecture: str = "same",
    encoder: str | None = None,
    encoder_weights: str | None = None,
    normalization: str = "none",
    upsampling: str | None = None,
    dropout: float = 0.5,
    l2: float = 5e-4,
    name: str = "unet",
) -> keras.Model:
    """Builds a U-Net: from images to one logit per pixel and class.

    The encoder has four levels and a bottom, each of two 3x3 convolutions with ReLU. The first has
    `filters` features, and each next one twice as many. 2x2 max-pooling stands between them, and
    dropout after the fourth level and the bottom. On each level of the decoder come upsampling, a
    2x2 convolution, concatenation with the encoder's features of that level (the skip connection),
    and two 3x3 convolutions. A 1x1 convolution makes the logits.

    Args:
        input_shape: `(height, width, channels)`; None as height or width stands for every size
            that `nets.sizes.check_size` accepts.
        num_classes: number of classes, background included.
        filters: features of the first level, 64 in the paper.
        architecture: "same" for padded convolutions. "paper" for unpadded ones: the skip
            connections are cropped, and the output is 92 pixels smaller on each side. "reference"
            for padded ones with Glorot's initial kernels in place of He's, as the original has it.
        encoder: a classification network of `nets.sizes.ENCODERS`, which scales the images itself,
            or None for the U-Net's own encoder. Where it has no features at full resolution, two
            3x3 convolutions of the image are the skip connection there.
        encoder_weights: "imagenet", a file, or None for random weights, see `encoders.encode`.
        normalization: "none" as in the paper, or "batch" or "group" (8 groups) between each
            convolution and its ReLU. A classification network keeps its own.
        upsampling: "nearest" for nearest-neighbour upsampling and a 2x2 convolution; "transpose"
            for a transposed 2x2 convolution of stride 2; None for the first, or for the second in
            the paper's network, which has no other.
        dropout: share of features to drop; with a classification network, after the bottom only.
        l2: L2 penalty on every kernel except the classification network's; 0 for none.
        name: name of the model.

    Returns:
        A `keras.Model`. Input: `[B, H, W, C]`, values 0..255 of any dtype; the model scales them.
        Output: float32 logits `[B, H, W, num_classes]`, or `[B, H - 184, W - 184, num_classes]` in
        the paper's network.

    Raises:
        ValueError: if a size, a number, a combination or the encoder's weights are impossible.
        OSError: if the encoder's weights are not there and cannot be downloaded.
    """
    _check_numbers(input_shape, num_classes, filters)
    check_network(architecture, encoder, encoder_weights, normalization, upsampling)
    check_size(*input_shape[:2], architecture, encoder)
    unpadded = architecture == "paper"
    upsampling = upsampling or ("transpose" if unpadded else "nearest")
    penalty = keras.regularizers.L2(l2) if l2 else None
    initializer = "glorot_uniform" if architecture == "reference" else "he_normal"
    padding = "valid" if unpadded else "same"
    blocks = _Blocks(normalization, upsampling, padding, initializer, penalty)

    inputs = keras.Input(input_shape, name="picture")  # names are part of saved models
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

    cropped = 4  # pixels of each side: the bottom takes 2, which are doubled
    for level, skip in reversed(list(enumerate(skips))):
        up, width = f"up{level + 1}", filters * 2**level
        x = blocks.double(x, width, up)
        if unpadded:
            skip = layers.Cropping2D(cropped, name=f"{up}_crop")(skip)
            cropped = 2 * (cropped + 4)  # 2 more in the encoder, 2 more in the decoder, doubled
        if level == 0 and skip is None:  # thin objects would be lost at half the resolution
            skip = layers.Rescaling(1 / 255, name=f"{up}_skip_rescale")(inputs)
            skip = blocks.two_convs(skip, width, f"{up}_skip")
        if skip is not None:
            x = layers.Concatenate(name=f"{up}_concat")([skip, x])
        x = blocks.two_convs(x, width, up)

    logits = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer="he_normal" if unpadded else "glorot_uniform",
        kernel_regularizer=penalty,
        dtype="float32",  # for the loss, also where the other layers compute in less
        name="logits",
    )(x)
    return keras.Model(inputs, logits, name=name)


@dataclasses.dataclass
class _Blocks:
    """The convolutions of one U-Net: they share all options except features, kernel and name."""

    normalization: str
    upsampling: str
    padding: str
    initializer: str
    penalty: keras.regularizers.Regularizer | None

    def two_convs(self, x, width, name):
        x = self._conv(x, width, 3, f"{name}_conv1", self.padding)
        return self._conv(x, width, 3, f"{name}_conv2", self.padding)

    def double(self, x, width, name):
        """Doubles height and width, the paper's "up-convolution"."""
        if self.upsampling == "nearest":
            x = layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_upsample")(x)
            return self._conv(x, width, 2, f"{name}_upconv", "same")
        # He's initialization: each output pixel is made of the features of one input pixel, but
        # "he_normal" would count the features of four output pixels.
        normal = keras.initializers.RandomNormal(stddev=math.sqrt(2 / x.shape[-1]))
        return self._conv(x, width, 2, f"{name}_upconv", "valid", normal, transposed=True)

    def _conv(self, x, width, size, name, padding, initializer=None, transposed=False):
        """Adds a convolution, or a transposed one of stride `size`, normalization and ReLU."""
        plain = self.normalization == "none"
        x = (layers.Conv2DTranspose if transposed else layers.Conv2D)(
            width,
            size,
            strides=size if transposed else 1,
            padding=padding,
            activation="relu" if plain else None,
            use_bias=plain,
            kernel_initializer=initializer or self.initializer,
            kernel_regularizer=self.penalty,
            name=name,
        )(x)
        if plain:
            return x
        if self.normalization == "batch":
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        else:
            groups = math.gcd(8, x.shape[-1])  # 8, or as many as divide the features
            x = layers.GroupNormalization(groups, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)


def _check_numbers(input_shape, num_classes, filters):
    if len(input_shape) != 3 or not input_shape[2] or input_shape[2] < 1:
        raise ValueError(f"input_shape must be (height, width, channels), got {input_shape}.")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 with the background, got {num_classes}.")
    if filters < 1:
        raise ValueError(f"filters must be at least 1, got {filters}.")
