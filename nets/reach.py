"""How far a network sees, found from its layers: grid, receptive radius and border."""

import dataclasses
import math

# Kinds of layers by what an output pixel is made of: the same pixel alone, or a window around it.
# Three of them also take in the whole tile, as statistics or as gates: GroupNormalization,
# and GlobalAveragePooling2D with the Reshape behind it. Those change from tile to tile.
_BY_PIXEL = (
    "InputLayer", "Rescaling", "Normalization", "BatchNormalization", "GroupNormalization",
    "Dropout", "ReLU", "Activation", "Softmax", "Concatenate", "Add", "Multiply", "Cropping2D",
    "ZeroPadding2D", "GlobalAveragePooling2D", "Reshape",
)  # fmt: skip
_WINDOWED = ("Conv2D", "DepthwiseConv2D", "MaxPooling2D")
_DOUBLING = ("UpSampling2D", "Conv2DTranspose")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What a network needs of a tile.

    Attributes:
        grid: a core's edges lie on multiples of it: the pixels of the input that one pixel of the
            coarsest level stands for.
        radius: the receptive radius: how many pixels beyond the edges of such a core the input has
            an influence on the core's output.
        border: by how many pixels the output begins and ends inside the input: 0 for a network
            whose convolutions are padded.
    """

    grid: int
    radius: int
    border: int = 0

    @property
    def margin(self):
        """What a tile has around its core: the radius, on the grid.

        A network without padding reads just the radius around a core on its own grid, so that is
        a size that it takes.
        """
        return self.radius if self.border else math.ceil(self.radius / self.grid) * self.grid

    def fitting(self, side):
        """The smallest side of an input of which the output is at least `side` pixels long."""
        side += 2 * self.border
        return side + (2 * self.margin - side) % self.grid


def geometry(model):
    """Computes the `Geometry` of a functional model, from its layers.

    For a block of output, it follows backwards how many pixels before and after it each layer needs
    of its input. A layer with a window of `k` pixels, dilation `d` and stride `s` reads `p` pixels
    before the first one's place and `d (k - 1) + 1 - s - p` after the last one's, with `p` half of
    what same-padding adds, or what a ZeroPadding2D before it does; upsampling by `f` needs one
    `f`-th, rounded up. Where there is no padding, pixels are counted from the middle.

    Group normalization and the gates of squeeze-and-excitation depend on all of the tile besides:
    for networks that have them, this is the reach of the convolutions alone, and tiles do not say
    exactly what one pass says.

    Raises:
        TypeError: for a layer that it does not know.
    """
    stride = {}  # input pixels that a tensor's pixel stands for
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


def unpadded(model):
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
    return stride * layer.strides[0] if kind in _WINDOWED else stride


def _factor(layer):
    if _kind(layer) == "UpSampling2D":
        return layer.size[0]
    if layer.kernel_size != layer.strides:
        raise TypeError(f"{layer.name}: how far a {_kind(layer)} with overlaps sees is unknown")
    return layer.strides[0]


def _reads(layer, before, after):
    """From the pixels that a layer's output needs beyond a block to those that its input needs."""
    kind = _kind(layer)
    if kind in _BY_PIXEL:
        return before, after
    if kind in _DOUBLING:
        return -(-before // _factor(layer)), -(-after // _factor(layer))
    if kind not in _WINDOWED:
        raise TypeError(f"{layer.name}: how far a {kind} sees is not known here")
    step = layer.strides[0]
    if kind == "MaxPooling2D":
        window = layer.pool_size[0]
    else:
        window = layer.dilation_rate[0] * (layer.kernel_size[0] - 1) + 1
    padding = max(0, window - step) // 2
    source = layer.input._keras_history.operation
    if _kind(source) == "ZeroPadding2D":
        padding = source.padding[0][0]
    return before * step + padding, after * step + window - step - padding
