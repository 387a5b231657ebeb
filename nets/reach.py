"""The reach of a network, computed from its layers: grid, receptive radius and border."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # tiles and predictions need `Geometry` before they need Keras
    import keras

# Layers by what an output pixel depends on: the same pixel alone, or its neighbours under a kernel.
# GroupNormalization and GlobalAveragePooling2D, with the Reshape behind it, also depend on all of
# the tile. What they add differs from tile to tile.
_BY_PIXEL = (
    "InputLayer", "Rescaling", "Normalization", "BatchNormalization", "GroupNormalization",
    "Dropout", "ReLU", "Activation", "Softmax", "Concatenate", "Add", "Multiply", "Cropping2D",
    "ZeroPadding2D", "GlobalAveragePooling2D", "Reshape",
)  # fmt: skip
_KERNEL = ("Conv2D", "DepthwiseConv2D", "MaxPooling2D")
_DOUBLING = ("UpSampling2D", "Conv2DTranspose")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What a network needs of a tile; all in pixels of the input.

    Attributes:
        grid: the side of one pixel of the coarsest level; a tile's core begins and ends on
            multiples of it.
        radius: the receptive radius: how far beyond such a core pixels influence its output.
        border: how much smaller the output is than the input on each side, 0 for a network with
            padded convolutions.
    """

    grid: int
    radius: int
    border: int = 0

    @property
    def margin(self) -> int:
        """What a tile has around its core: the radius, rounded up to the grid.

        A network without padding takes exactly the radius.
        """
        return self.radius if self.border else math.ceil(self.radius / self.grid) * self.grid

    def fitting(self, side: int) -> int:
        """Returns the smallest possible side of an input for an output of at least `side`."""
        side += 2 * self.border
        return side + (2 * self.margin - side) % self.grid


def geometry(model: keras.Model) -> Geometry:
    """Computes the `Geometry` of a functional model, from its layers.

    It starts from a block of output and follows the layers backwards: how many pixels before and
    after the block does each need of its input? With a kernel of `k` pixels, dilation `d` and
    stride `s`, a layer reads `p` pixels before the place of the first and `d (k - 1) + 1 - s - p`
    after that of the last; `p` is half of what same-padding would add, or what a ZeroPadding2D
    does. Upsampling by `f` needs one `f`-th, rounded up.

    With group normalization or squeeze-and-excitation, every output pixel also depends on all of
    the tile. For such networks this is the reach of the convolutions alone, and tiles give slightly
    different scores than one pass.

    Raises:
        TypeError: for a layer of an unknown kind.
    """
    stride = {}  # of a tensor's pixel, in pixels of the input
    for layer in model.layers:
        coming = max([stride[id(tensor)] for tensor in _inputs(layer)], default=1)
        stride[id(layer.output)] = _resampled(layer, coming)
    needed = {id(tensor): (0, 0) for tensor in model.outputs}
    for layer in reversed(model.layers):
        before, after = _reads(layer, *needed.get(id(layer.output), (0, 0)))
        for tensor in _inputs(layer):
            known = needed.get(id(tensor), (0, 0))
            needed[id(tensor)] = (max(known[0], before), max(known[1], after))
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
    if _kind(layer) == "InputLayer":
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _resampled(layer, stride):
    kind = _kind(layer)
    if kind in _DOUBLING:
        return stride // _factor(layer)
    return stride * layer.strides[0] if kind in _KERNEL else stride


def _factor(layer):
    if _kind(layer) == "UpSampling2D":
        return layer.size[0]
    if layer.kernel_size != layer.strides:
        raise TypeError(f"{layer.name}: the reach of a {_kind(layer)} with overlaps is unknown")
    return layer.strides[0]


def _reads(layer, before, after):
    """Returns the pixels a layer reads before and after a block, from those its output needs."""
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
