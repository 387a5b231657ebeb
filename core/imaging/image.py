"""Reading and writing images and masks."""

import contextlib
import io
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps

from core.support.errors import UserError
from core.support.files import replacing

_COLOURED = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LA", "PA")  # of Pillow's modes
_SCALED = {"L;2": 85, "L;4": 17}  # what Pillow multiplies greys of 2 and 4 bits by


def read_image(path, channels=3, page=0):
    """Reads an image as a viewer shows it, upright, for the network in training as after it.

    Grey, palette, RGB, CMYK and 1-bit images are converted by Pillow, which keeps the upper 8 of
    16 bits of a colour. Transparency is dropped: the colours beneath count. Of grey images of 16
    or 32 bits, a whole range of values is mapped to 0..255: the smallest of 0..255, 0..4095 and
    0..65535 that holds them all, for floating point also 0..1. Values below 0 and those that are no
    numbers become 0.

    Args:
        path: the file, in any format that Pillow reads.
        channels: 3 for red, green, blue; 1 for grey.
        page: which image of a multi-page file.

    Returns:
        uint8 `[H, W, channels]`.

    Raises:
        UserError: if the file cannot be read or has values above 65535.
    """
    with _opened(path, page) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith(("I", "F")):
            image = _in_8_bits(image)
        mode = "RGB" if channels == 3 else "L"
        return np.atleast_3d(image if image.mode == mode else image.convert(mode))


def _in_8_bits(image):
    """Maps an image's range of values to 0..255."""
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0, posinf=0, neginf=0)
    ranges = (*([1] if image.mode.startswith("F") else []), 255, 4095, 65535)
    highest = values.max()
    fitting = [top for top in ranges if highest <= top]
    if not fitting:
        raise ValueError(f"it has values up to {highest:g}, more than {ranges[-1]}")
    return Image.fromarray(np.rint(values.clip(0) * (255 / fitting[0])).astype(np.uint8))


def read_mask(path, page=0):
    """Reads the values of a mask as they are in the file; a palette's numbers stay numbers.

    Returns:
        uint8 `[H, W]`, or `[H, W, 3]` for a mask of colours.

    Raises:
        UserError: if the file cannot be read, has values above 255, or says all by transparency.
    """
    return read_indexed(path, page)[0]


def read_indexed(path, page=0):
    """Reads a mask as `read_mask` does, and the palette of its numbers.

    Returns:
        The values, and the palette's colours, uint8 `[N, 3]`. These are None for a file without a
        palette, and for one whose palette shows each number as the grey of that number.
    """
    with _opened(path, page) as image:
        kind, factor, palette = image.mode, image.info["factor"], None
        values = np.asarray(image.convert("RGB") if kind in _COLOURED else image)
        *of_colours, clear = image.convert("RGBA").getextrema() if kind.endswith("A") else ((0, 0),)
        if kind == "P":
            palette = np.reshape(image.getpalette(), (-1, 3)).astype(np.uint8)
    if clear[0] < clear[1] and all(low == high for low, high in of_colours):
        raise UserError(
            f"{path}: the classes are in the transparency (alpha) alone, all colours are the same. "
            "Save class ids in a mask without transparency, as a grey PNG."
        )
    if values.dtype not in (np.uint8, bool) and not np.isin(values, range(256)).all():
        raise UserError(
            f"{path}: is of kind {kind} and does not hold ids from 0 to 255, but values up to "
            f"{values.max():g}. Save class ids; a mask that numbers objects needs their classes."
        )
    if palette is not None and (palette == np.arange(len(palette))[:, None]).all():
        palette = None
    values = values.astype(np.uint8)
    return (values // factor if factor > 1 else values), palette


def count_pages(path):
    """Returns how many images a TIFF file holds, or raises a UserError; 1 for every other kind."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return 1
    with _opened(path) as image:
        return getattr(image, "n_frames", 1)  # other formats have this suffix, too


@contextlib.contextmanager
def _opened(path, page=0):
    """Opens and decodes one page; whatever goes wrong is a UserError that names the file."""
    warnings.filterwarnings("ignore", module="PIL")  # what matters is refused below
    try:
        with Image.open(path) as image:
            image.seek(page)
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            raw = str(image.tile[0][3]) if image.tile else ""
            image.load()
            image.info["factor"] = _SCALED.get(raw, 1)
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path}: has more than the {Image.MAX_IMAGE_PIXELS:,} pixels that Pillow takes for "
            "harmless. Cut it into smaller images."
        ) from error
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise UserError(
            f"{path}: cannot be read as an image ({error}). Replace the file."
        ) from error


def palette_image(mask, palette):
    """Makes a `PIL.Image.Image` with uint8 class ids `[H, W]` as pixels, shown by a palette.

    The palette, `[N, 3]`, has red, green and blue of the ids from 0 on.
    """
    colours = np.zeros((256, 3), np.uint8)  # all 256: Pillow squeezes the ids into fewer bits else
    colours[: len(palette)] = palette
    image = Image.fromarray(mask)
    image.putpalette(colours.tobytes())
    return image


def encode_image(image, kind="PNG", photograph=False) -> bytes:
    """Returns the bytes of a PNG, or of a page of a TIFF file if `kind` is "TIFF".

    The image is a `PIL.Image.Image` or a uint8 array `[H, W]` or `[H, W, 3]`. The PNG of a
    photograph is written without a search for repetitions, a third quicker; flat images would grow.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    if kind == "TIFF":
        image.save(file, kind, compression="tiff_adobe_deflate")
    else:
        # Level 1 is quick; 6 takes four times as long and saves a few per cent.
        strategy = zlib.Z_HUFFMAN_ONLY if photograph else zlib.Z_DEFAULT_STRATEGY
        image.save(file, kind, compress_level=1, compress_type=strategy)
    return file.getvalue()


def write_image(path, image):
    """Writes an image as PNG, see `encode_image`; raises a UserError if that fails."""
    with replacing(path) as partial:
        partial.write_bytes(encode_image(image))
