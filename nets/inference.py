"""A network that has learnt, made quicker; its answers are the same but for rounding."""

import functools
import re

import keras
import numpy as np
from keras import layers, ops

LAST = "channels_last"
OWN = re.compile(r"(down|up)\d_|bottom_")  # names of layers of `nets.unet.UNet`


def quicken(model: keras.Model, exact: bool = True, subpixels: bool = True) -> None:
    """Makes a network quicker, in place, for inference only.

    `exact` is False if the backend computes float32 layers in 16 bits, and `subpixels` is False if
    convolutions of doubled images are to stay as they are.

    Batch normalization is folded into the convolution before it: both are linear, so that the
    kernel takes the factor. What is left to add takes no time, as backends do it in one operation
    with the convolution. Where that has other readers or an activation, nothing changes.

    Where they compute in 16 bits, pretrained encoders and adopted networks stay as they are: they
    learnt with kernels rounded to 16 bits, and folded ones are rounded in another way. A model of
    animals with EfficientNet-Lite0 lost 0.003 MIoU by that.

    Nearest upsampling becomes one operation. Keras repeats rows, and then columns. With
    `subpixels`, upsamplings with a name of U-Net's and the 2x2 convolutions after them become
    sub-pixel convolutions (Shi et al. 2016), which compute from the small image.

    Layers whose channels come first stay as they are. The model must have one output, and layers
    that no other model reads.
    """
    for layer in model.layers:
        if isinstance(layer, layers.UpSampling2D) and layer.data_format == LAST:
            if layer.interpolation == "nearest":
                layer.call = functools.partial(_resized, layer.call, layer.size)
        if not isinstance(layer, layers.BatchNormalization):
            continue
        before = _convolution(layer)
        exactly = exact and before and layer.compute_dtype == before.compute_dtype == "float32"
        if before and (exactly or OWN.match(layer.name)):
            factor, shift = _factor_and_shift(layer)
            kernel = np.asarray(ops.convert_to_numpy(before.kernel), np.float64)
            depthwise = isinstance(before, layers.DepthwiseConv2D)
            before.kernel.assign(kernel * (factor[:, None] if depthwise else factor))
            if before.use_bias:
                shift = shift + factor * ops.convert_to_numpy(before.bias)
                before.bias.assign(np.zeros(len(shift)))
            layer.call = functools.partial(_add, shift.astype(np.float32))
    for layer in model.layers if subpixels else ():
        if isinstance(layer, layers.UpSampling2D) and OWN.match(layer.name):
            _to_subpixels(layer)


def softmax(logits: keras.KerasTensor, classes_first: bool = False) -> keras.KerasTensor:
    """Makes class probabilities `[B, H, W, K]` of a network's logits.

    Those of two classes are a sigmoid of their difference: the same in half the time. With
    `classes_first`, others are computed in that order, and put back.
    """
    layer = layers.Softmax(name="class_probabilities")  # no name that an adopted model has
    if logits.shape[-1] == 2:
        layer.call = _of_two
    elif classes_first:
        layer.call = _of_planes
    return layer(logits)


def _of_two(logits, mask=None):
    difference = logits[..., 1:] - logits[..., :1]
    return ops.concatenate([ops.sigmoid(-difference), ops.sigmoid(difference)], -1)


def _of_planes(logits, mask=None):
    planes = ops.softmax(ops.transpose(logits, (0, 3, 1, 2)), axis=1)
    return ops.transpose(planes, (0, 2, 3, 1))


def _convolution(layer):
    """The convolution that only a batch normalization reads, and whose factor it can take."""
    if len(layer._inbound_nodes) != 1 or layer.axis not in (-1, 3):
        return None
    before = layer.input._keras_history.operation
    plain = isinstance(before, layers.Conv2D)
    depthwise = isinstance(before, layers.DepthwiseConv2D) and before.depth_multiplier == 1
    plain = (plain or depthwise) and before.data_format == LAST
    linear = getattr(before, "activation", None) is keras.activations.linear
    alone = len(before._inbound_nodes) == len(before._outbound_nodes) == 1
    return before if plain and linear and alone else None


def _factor_and_shift(layer):
    """What a batch normalization multiplies by and adds, float64 `[C]`."""
    mean, variance = map(ops.convert_to_numpy, (layer.moving_mean, layer.moving_variance))
    factor = 1 / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    factor = factor * ops.convert_to_numpy(layer.gamma) if layer.scale else factor
    shift = -mean * factor
    return factor, shift + ops.convert_to_numpy(layer.beta) if layer.center else shift


def _to_subpixels(upsampling):
    """Lets the convolution after a nearest upsampling compute from the small image.

    One pixel becomes four. There, a 2x2 kernel covers 1, 2, 2 and 4 different pixels of the small
    image. With the sums of its weights for each, the four take 9 multiplications in place of 16.
    Normalization and ReLU follow before the four are put together: then each is one operation with
    the convolution.
    """
    chain = [upsampling]
    while len(chain[-1]._inbound_nodes) == len(chain[-1]._outbound_nodes) == 1:
        after = chain[-1]._outbound_nodes[0].operation
        fits = _pointwise(after) if chain[1:] else isinstance(after, layers.Conv2D)
        if not fits or len(after._inbound_nodes) > 1:
            break
        chain.append(after)
    if len(chain) == 1 or not _doubles(*chain[:2]):
        return
    convolution, *rest = chain[1:]
    kernel = ops.convert_to_numpy(convolution.kernel)
    sums = [kernel.sum(axes, keepdims=True) for axes in ((0, 1), 0, 1)]
    # A graph refers to variables. Of constants, each trace of TensorFlow's would hold copies.
    kernels = [*(keras.Variable(values, trainable=False) for values in sums), convolution.kernel]
    calls = [layer.call for layer in rest]
    convolution.call = functools.partial(_subpixels, convolution, kernels, calls)
    for layer in (upsampling, *rest):
        layer.call = _unchanged


def _pointwise(layer):
    """Whether a layer, here of two kinds, computes each pixel by itself."""
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis in (-1, 3)
    return isinstance(layer, layers.ReLU)


def _doubles(upsampling, convolution):
    """Whether an upsampling and the convolution after it are as in U-Net, by default."""
    nearest = upsampling.interpolation == "nearest" and tuple(upsampling.size) == (2, 2)
    last = upsampling.data_format == convolution.data_format == LAST
    sizes = convolution.kernel_size, convolution.strides, convolution.dilation_rate
    plain = sizes == ((2, 2), (1, 1), (1, 1)) and convolution.groups == 1
    return nearest and last and plain and convolution.padding == "same"


def _subpixels(convolution, kernels, calls, inputs):
    """What a convolution, and then `calls`, make of the doubled `inputs`: `[B, 2 H, 2 W, C]`.

    The kernels are those of the upper left, upper right, lower left and lower right pixels.
    """

    def part(kernel):
        kernel = ops.cast(kernel, inputs.dtype)
        pixels = ops.conv(inputs, kernel, padding="same", data_format=LAST)
        if convolution.use_bias:
            pixels = ops.add(pixels, ops.cast(convolution.bias, pixels.dtype))
        pixels = convolution.activation(pixels)
        for call in calls:
            pixels = call(pixels)
        return pixels

    parts = [part(kernel) for kernel in kernels]
    (height, width), features = ops.shape(inputs)[1:3], convolution.filters
    rows = [ops.concatenate(pair, -1) for pair in (parts[:2], parts[2:])]
    rows = [ops.reshape(row, (-1, height, 2 * width * features)) for row in rows]
    return ops.reshape(ops.concatenate(rows, -1), (-1, 2 * height, 2 * width, features))


def _unchanged(inputs, training=None, mask=None):
    return inputs


def _resized(usual, factors, inputs):
    height, width = inputs.shape[1:3]
    if height is None or width is None:  # as in an exported model, which takes all sizes
        return usual(inputs)
    size = height * factors[0], width * factors[1]
    return ops.image.resize(inputs, size, interpolation="nearest", data_format=LAST)


def _add(shift, inputs, training=None, mask=None):
    return ops.add(inputs, ops.cast(shift, inputs.dtype))
