"""What can be said of a network without training it: its layers, its reach and its cost."""

import math

import keras

from nets.reach import geometry


def summary(model: keras.Model, size: tuple[int, int]) -> str:
    """Describes a model, its height and width None, for a canvas of `(height, width)`.

    Returns Keras' table of all layers with their sizes and parameters, then a line each for the
    receptive radius and the floating-point operations. An unpadded network's input is larger.
    """
    needs = geometry(model)
    height, width = map(needs.fitting, size)
    sized = at_size(model, (height, width))
    lines = []
    sized.summary(print_fn=lines.append)
    billions = f"{operations(sized) / 1e9:,.2f} billion"
    lines.append(f" Receptive radius: {needs.radius} pixels, around blocks of {needs.grid}")
    lines.append(f" Floating-point operations: {billions} for an image of {height}x{width}")
    return "\n".join(lines)


def at_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """Returns a copy of a network for images of one size `(height, width)`, with new weights.

    It is not compiled, whether the network is or not.

    Raises:
        ValueError: if the network does not take this size.
    """
    inputs = keras.Input((*size, model.input_shape[-1]), name="picture")
    plain = keras.Model(model.input, model.output)  # without the optimizer, which Keras would copy
    return keras.models.clone_model(plain, input_tensors=inputs)


def operations(model: keras.Model) -> int:
    """Counts the floating-point operations for one image, in a model of one size.

    Only convolutions count; they do nearly all the work. Each weight of the kernel takes a
    multiplication and an addition at each place. The places are the pixels of the output, or for a
    transposed convolution those of the input.
    """
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            transposed = isinstance(layer, keras.layers.Conv2DTranspose)
            places = (layer.input if transposed else layer.output).shape[1:-1]
            total += 2 * math.prod(layer.kernel.shape) * math.prod(places)
    return total
