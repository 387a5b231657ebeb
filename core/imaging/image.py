"""Reading and writing pictures and masks."""

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
_RANGES = (255, 4095, 65535)  # of 8, 12 and 16 bits


def read_image(path, channels=3, page=0):
    """Reads a picture as a viewer shows it, upright.

    Args:
        path: the file, in any format that Pillow reads.
        channels: 3 for red, green, blue; 1 for grey.
        page: which picture of a multi-page file.

    Returns:
        uint8 `[H, W, channels]`, see `to_channels`.

    Raises:
        UserError: if the file cannot be read.
    """
    with _opened(path, page, "picture") as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        return to_channels(picture, channels)


def to_channels(picture, channels):
    """Turns a picture of any kind into the one that the network takes, in training as after it.

    Grey, palette, RGB, CMYK and 1-bit pictures are converted by Pillow, which keeps the upper 8 of
    16 bits of a colour. Transparency is dropped: the colours beneath count. Of grey pictures of 16
    or 32 bits, a whole range of values is mapped to 0..255: the smallest of 0..255, 0..4095 and
    0..65535 that holds them all, for floating point also 0..1. Values below 0 and those that are no
    numbers become 0.

    Args:
        picture: a `PIL.Image.Image`.
        channels: 3 for red, green, blue; 1 for grey.

    Returns:
        uint8 `[H, W, channels]`.

    Raises:
        ValueError: if there are values above 65535.
    """
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture, np.float32), nan=0, posinf=0, neginf=0)
        highest = values.max()
        ranges = (1, *_RANGES) if picture.mode.startswith("F") else _RANGES
        top = next((top for top in ranges if highest <= top), None)
        if top is None:
            raise ValueError(f"it has values up to {highest:g}, more than {ranges[-1]}")
        picture = Image.fromarray(np.rint(values.clip(0) * (255 / top)).astype(np.uint8))
    mode = "RGB" if channels == 3 else "L"
    image = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return image if image.ndim == 3 else image[..., None]


def read_mask(path, page=0):
    """Reads the values of a mask as they are in the file; a palette's numbers stay numbers.

    Returns:
        uint8 `[H, W]`, or `[H, W, 3]` for a mask of colours.

    Raises:
        UserError: if the file cannot be read or has values above 255.
    """
    with _opened(path, page, "mask") as picture:
        if picture.mode in _COLOURED:
            return np.asarray(picture.convert("RGB"))
        values = np.asarray(picture)
        narrow = values.dtype in (np.uint8, bool)
        if not narrow and not np.isin(values, range(256)).all():
            raise ValueError(f"it is of kind {picture.mode} and does not hold ids from 0 to 255")
        return values.astype(np.uint8) // picture.info["factor"]


def count_pages(path):
    """Returns how many pictures a TIFF file holds; 1 for every other kind of file.

    Raises:
        UserError: if the file cannot be read.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return 1
    with _opened(path, 0, "picture") as picture:
        return getattr(picture, "n_frames", 1)  # other formats have this suffix, too


@contextlib.contextmanager
def _opened(path, page, kind):
    """Opens and decodes one page; whatever goes wrong is a UserError that names the file."""
    warnings.filterwarnings("ignore", module="PIL")  # what matters is refused below
    try:
        with Image.open(path) as picture:
            picture.seek(page)
            if picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            raw = picture.tile[0][3] if picture.tile else None
            picture.load()
            picture.info["factor"] = _SCALED.get(raw, 1) if isinstance(raw, str) else 1
            yield picture
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {kind}.") from None
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path}: has more than the {Image.MAX_IMAGE_PIXELS:,} pixels that Pillow takes for "
            "harmless. Cut it into smaller pictures."
        ) from error
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise UserError(
            f"{path}: cannot be read as a {kind} ({error}). Replace the file."
        ) from error


def palette_image(mask, palette):
    """Makes a palette picture of class ids: the ids are the pixel values, the palette shows them.

    Args:
        mask: uint8 `[H, W]`.
        palette: `[N, 3]`, red, green and blue of the ids from 0 on.

    Returns:
        A `PIL.Image.Image`.
    """
    colours = np.zeros((256, 3), np.uint8)  # all 256: Pillow squeezes the ids into fewer bits else
    colours[: len(palette)] = palette
    picture = Image.fromarray(mask)
    picture.putpalette(colours.tobytes())
    return picture


def encode_image(image, kind="PNG", photograph=False) -> bytes:
    """Encodes an image.

    Args:
        image: a `PIL.Image.Image` or a uint8 array `[H, W]` or `[H, W, 3]`.
        kind: "PNG", or "TIFF" for a page of a TIFF file.
        photograph: whether a PNG looks for no repetitions, which is a third quicker; flat images
            would become larger.

    Returns:
        The bytes of the file.
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
    """Writes an image as PNG, see `encode_image`.

    Raises:
        UserError: if the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(encode_image(image))
