"""Overlap-tile: pictures of any size at their own resolution, piece by piece.

After the U-Net paper (Ronneberger et al. 2015): the picture is continued beyond its edges by its
mirror image, and cut into tiles that overlap by as far as the network sees. Of each tile only the
core is kept, which no edge of the tile has any influence on. So the cores together are what the
network says of the whole mirrored-in picture at once, and take only a tile's memory.
"""

import dataclasses
import math

import numpy as np

# Kinds of layers by what an output pixel is made of: the same pixel alone, or a window around it.
_BY_PIXEL = (
    "InputLayer", "Rescaling", "BatchNormalization", "Dropout", "ReLU", "Concatenate", "Softmax",
)  # fmt: skip
_WINDOWED = ("Conv2D", "MaxPooling2D")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What a network needs of a tile.

    Attributes:
        grid: a core's edges lie on multiples of it: the pixels of the input that one pixel of the
            coarsest level stands for.
        radius: the receptive radius: how many pixels beyond the edges of such a core the input has
            an influence on the core's output.
    """

    grid: int
    radius: int

    @property
    def margin(self):
        """What a tile has around its core: the radius, on the grid."""
        return math.ceil(self.radius / self.grid) * self.grid


def geometry(model):
    """Computes the `Geometry` of a same-padded functional model, from its layers.

    For a block of output, it follows backwards how many pixels before and after it each layer needs
    of its input. A layer with a window of `k` pixels, dilation `d` and stride `s` reads `p` pixels
    before the first one's place and `d (k - 1) + 1 - s - p` after the last one's, with `p` half of
    what same-padding adds; upsampling by `f` needs one `f`-th, rounded up.

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
    return Geometry(max(stride.values()), max(needed[id(model.inputs[0])]))


def _inputs(layer):
    if type(layer).__name__ == "InputLayer":
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _resampled(layer, stride):
    kind = type(layer).__name__
    if kind == "UpSampling2D":
        return stride // layer.size[0]
    return stride * layer.strides[0] if kind in _WINDOWED else stride


def _reads(layer, before, after):
    """From the pixels that a layer's output needs beyond a block to those that its input needs."""
    kind = type(layer).__name__
    if kind in _BY_PIXEL:
        return before, after
    if kind == "UpSampling2D":
        return -(-before // layer.size[0]), -(-after // layer.size[0])
    if kind not in _WINDOWED:
        raise TypeError(f"{layer.name}: how far a {kind} sees is not known here")
    step = layer.strides[0]
    if kind == "Conv2D":
        window = layer.dilation_rate[0] * (layer.kernel_size[0] - 1) + 1
    else:
        window = layer.pool_size[0]
    padding = max(0, window - step) // 2
    return before * step + padding, after * step + window - step - padding


def places(shape, geometry, longest):
    """Divides a picture into cores of one shape.

    Args:
        shape: the picture's shape, height and width first.
        geometry: a `Geometry`.
        longest: how long the side of a tile may be, margins included, in pixels.

    Returns:
        For each core its rows and columns, a pair of slices. The last ones may reach beyond the
        picture.
    """
    largest = max(geometry.grid, (longest - 2 * geometry.margin) // geometry.grid * geometry.grid)
    sides = []
    for length in shape[:2]:
        count = math.ceil(length / largest)
        core = math.ceil(length / count / geometry.grid) * geometry.grid
        sides.append([slice(start, start + core) for start in range(0, length, core)])
    return [(rows, columns) for rows in sides[0] for columns in sides[1]]


def cut(image, geometry, place):
    """Cuts a core with its margins out of a picture `[H, W, C]` that is mirrored at its edges."""
    rows, columns = (
        _mirrored(part.start - geometry.margin, part.stop + geometry.margin, side)
        for part, side in zip(place, image.shape[:2], strict=True)
    )
    return image[np.ix_(rows, columns)]


def core_of(scores, geometry, place, shape):
    """Cuts out of a tile's scores those of the core, as far as it lies in a picture of `shape`."""
    rows, columns = (
        slice(geometry.margin, geometry.margin + min(part.stop, side) - part.start)
        for part, side in zip(place, shape, strict=False)
    )
    return scores[rows, columns]


def _mirrored(start, stop, length):
    """Pixel numbers from `start` to `stop`, those outside 0..length - 1 mirrored into it."""
    if length == 1:
        return np.zeros(stop - start, int)
    period = 2 * (length - 1)
    numbers = np.arange(start, stop) % period
    return np.minimum(numbers, period - numbers)
