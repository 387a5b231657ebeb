"""The receptive field of a network, computed from its layers: what a tile needs."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # tiles and predictions need `Geometry` before they need Keras
    import keras

# Layers whose output pixel depends on the same pixel of their input.
_BY_PIXEL = (
    "InputLayer", "Rescaling", "Normalization", "BatchNormalization", "GroupNormalization",
    "Dropout", "ReLU", "Activation", "Softmax", "Concatenate", "Add", "Multiply", "Cropping2D",
    "ZeroPadding2D", "GlobalAveragePooling2D", "Reshape", "Log",
)  # fmt: skip
_KERNEL = ("Conv2D", "DepthwiseConv2D", "MaxPooling2D")  # and here on neighbours under a kernel
_DOUBLING = ("UpSampling2D", "Conv2DTranspose")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What a network needs of a tile; all in pixels of the input."""

    grid: int  # a pixel of the coarsest level; a tile and its core begin on multiples of it
    radius: int  # receptive radius: pixels up to this distance from a core influence its output
    trim: int = 0  # how much smaller the output is on each side, 0 with padding

    @property
    def margin(self) -> int:
        """What a tile has around its core: the radius; with padding, rounded up to the grid.

        With padding, a tile has it inside the image only.
        """
        return self.radius if self.trim else math.ceil(self.radius / self.grid) * self.grid

    def fitting(self, side: int) -> int:
        """Returns the smallest possible side of an input for an output of at least `side`."""
        side += 2 * self.trim
        return side + (2 * self.margin - side) % self.grid


def geometry(model: keras.Model) -> Geometry:
    """Computes the `Geometry` of a functional model from its layers.

    It follows the layers from a block of output back to the input and counts the pixels that each
    layer reads before and after its block. With a kernel of `k` pixels, dilation `d` and stride
    `s`, a layer reads `p` pixels before the first pixel's place and `d (k - 1) + 1 - s - p` after
    the last one's; `p` is half of the same-padding, or that of a ZeroPadding2D. Upsampling by `f`
    reads one `f`-th, rounded up.

    Group normalization and squeeze-and-excitation look at the whole tile, which does not count
    here: tiles then give slightly other scores than one pass.

    Raises:
        TypeError: for a layer of an unknown kind, or in two places.
    """
    stride = {}  # of each tensor's pixels, in pixels of the input
    for layer in model.operations:
        if len(layer._inbound_nodes) > 1:
            raise TypeError(f"{layer.name}: the reach of a layer in two places is unknown")
        coming = max((stride[id(tensor)] for tensor in _inputs(layer)), default=1)
        if _kind(layer) in _DOUBLING:
            coming //= _factor(layer)
        elif _kind(layer) in _KERNEL:
            coming *= layer.strides[0]
        stride[id(layer.output)] = coming
    needed = collections.defaultdict(lambda: (0, 0))  # of each tensor, before and after
    for layer in reversed(model.operations):
        reads = _reads(layer, *needed[id(layer.output)])
        for tensor in _inputs(layer):
            needed[id(tensor)] = tuple(map(max, needed[id(tensor)], reads))
    grid, radius = max(stride.values()), max(needed[id(model.inputs[0])])
    if not unpadded(model):
        return Geometry(grid, radius)
    side = grid + 2 * radius
    shape = model.compute_output_shape((1, side, side, model.input_shape[-1]))
    return Geometry(grid, radius, (side - shape[1]) // 2)


def unpadded(model: keras.Model) -> bool:
    """Returns whether a model's output is smaller than its input, as in the U-Net paper."""
    return any(_kind(layer) == "Cropping2D" for layer in model.layers)


def _kind(layer):
    return type(layer).__name__


def _inputs(layer):
    return layer.input if isinstance(layer.input, list) else [layer.input]  # [] of an InputLayer


def _factor(layer):
    if _kind(layer) == "UpSampling2D":
        if layer.interpolation != "nearest":
            raise TypeError(f"{layer.name}: the reach of {layer.interpolation} is unknown")
        return layer.size[0]
    if layer.kernel_size != layer.strides:
        raise TypeError(f"{layer.name}: the reach of a {_kind(layer)} with overlaps is unknown")
    return layer.strides[0]


def _reads(layer, before, after):
    """The pixels that a layer reads before and after a block, from those that its output needs."""
    kind = _kind(layer)
    if kind in _BY_PIXEL:
        return before, after
    if kind in _DOUBLING:
        return -(-before // _factor(layer)), -(-after // _factor(layer))
    if kind not in _KERNEL:
        raise TypeError(f"{layer.name}: the reach of a {kind} is unknown")
    step = layer.strides[0]
    if kind == "MaxPooling2D":
        extent = layer.pool_size[0]
    else:
        extent = layer.dilation_rate[0] * (layer.kernel_size[0] - 1) + 1
    padding = max(0, extent - step) // 2
    source = layer.input._keras_history.operation
    if _kind(source) == "ZeroPadding2D":
        padding = source.padding[0][0]
    return before * step + padding, after * step + extent - step - padding
