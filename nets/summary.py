"""What is to be known of a network before it is trained: its layers, its reach and its cost."""

import math

import keras

from nets.reach import geometry


def summary(model, size):
    """Describes a model at work on a canvas.

    Args:
        model: a `keras.Model` that takes pictures of any size it can halve.
        size: the canvas, `(height, width)`; an unpadded network's input is larger by its border.

    Returns:
        Text: Keras' table, with the sizes and the parameters of all layers, and a line each for the
        receptive radius and for the floating-point operations.
    """
    needs = geometry(model)
    height, width = map(needs.fitting, size)
    sized = at_size(model, (height, width))
    lines = []
    sized.summary(print_fn=lines.append)
    lines += [
        f" Receptive radius: {needs.radius} pixels, around blocks of {needs.grid}",
        f" Floating-point operations: {operations(sized) / 1e9:,.2f} billion for a picture of "
        f"{height}x{width}",
    ]
    return "\n".join(lines)


def at_size(model, size):
    """Returns the same network for pictures of one size, with weights of its own.

    Raises:
        ValueError: if the network does not take this size.
    """
    inputs = keras.Input((*size, model.input_shape[-1]), name="picture")
    return keras.models.clone_model(model, input_tensors=inputs)


def operations(model):
    """Counts the floating-point operations that a model of one size takes for a picture.

    Only those of the convolutions count, which are nearly all: a multiplication and an addition for
    each weight of the kernel at each place, 2 operations. A transposed convolution's places are its
    input's pixels, any other's are its output's.
    """
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            transposed = isinstance(layer, keras.layers.Conv2DTranspose)
            places = (layer.input if transposed else layer.output).shape[1:-1]
            total += 2 * math.prod(layer.kernel.shape) * math.prod(places)
    return total
