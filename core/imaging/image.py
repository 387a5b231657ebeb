"""Reading the values of images and masks from their files."""

import contextlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from core.imaging.tiles import LARGEST, as_array
from core.support.errors import UserError
from core.support.tiff import Page, decode, is_tiff

_COLOURED = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LA", "PA")  # of Pillow's modes
_SCALED = {"L;2": 85, "L;4": 17}  # what Pillow multiplies greys of 2 and 4 bits by
ORIENTATION = 274  # the tag of EXIF
TURNED = (5, 6, 7, 8)  # its values that exchange height and width
LONGEST_SIDE = 32766  # OpenCV warps no longer ones


def read_values(path, page=0, half=False):
    """Reads the values of an image, upright, with all their bits.

    With `half`, a JPEG of even sides comes in half its size, in half the time.

    Returns:
        `[H, W]` or, of colours, `[H, W, 3]`, uint8 for up to 8 bits; and whether 0 means white.
    """

    def shown(image, _):
        if image.mode not in ("L", "RGB") and not image.mode.startswith(("I", "F")):
            image = image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
        return as_array(image)

    return _read(path, page, shown, half)


def read_mask(path, page=0):
    """Reads the values of a mask as they are in the file; a palette's numbers stay numbers.

    It is turned upright like an image: uint8 `[H, W]`, or `[H, W, 3]` of colours. It is a UserError
    if it cannot be read, has values above 255, or says all by its transparency.
    """
    return read_indexed(path, page)[0]


def read_indexed(path, page=0):
    """Reads a mask as `read_mask` does, and the palette of its numbers.

    Returns:
        The values, and the palette's colours, uint8 `[N, 3]`. These are None for a file without a
        palette, and for one whose palette shows each number as the grey of that number.
    """
    palette = None

    def stored(image, scale):
        nonlocal palette
        if image.mode.endswith("A"):
            _refuse_transparent(path, image.convert("RGBA").getextrema())
        if image.mode == "P":
            palette = np.reshape(image.getpalette(), (-1, 3)).astype(np.uint8)
        values = as_array(image.convert("RGB") if image.mode in _COLOURED else image)
        return values if scale == 1 else values // scale

    values, _ = _read(path, page, stored)
    if values.dtype == np.uint16 and values.ndim == 3:
        values = values >> 8  # as Pillow reads such colours
    if values.dtype not in (np.uint8, bool) and not np.isin(values, range(256)).all():
        raise UserError(
            f"{path}: is of kind {values.dtype} and does not hold ids from 0 to 255, but values up "
            f"to {values.max():g}. Save class ids; a mask that numbers objects needs their classes."
        )
    if palette is not None and (palette == np.arange(len(palette))[:, None]).all():
        palette = None
    return values.astype(np.uint8), palette


def _refuse_transparent(path, extremes):
    """Refuses a mask whose only differences are those of its transparency."""
    *colours, (lowest, highest) = extremes
    if lowest < highest and all(low == high for low, high in colours):
        raise UserError(
            f"{path}: the classes are in the transparency (alpha) alone, all colours are the same. "
            "Save class ids in a mask without transparency, as a grey PNG."
        )


def count_pages(path):
    """Returns how many images a TIFF file holds, or raises a UserError; 1 for every other kind.

    Overviews and thumbnails do not count.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return 1
    with _explained(path), Page(path) if is_tiff(path) else Image.open(path) as file:
        return file.count if isinstance(file, Page) else getattr(file, "n_frames", 1)


def by_page(info: dict) -> list[dict]:
    """Returns the given entry of `Dataset.image_info`, or one for each page of a stack.

    It is a UserError if image and mask do not have as many.
    """
    try:
        pages, of_mask = (count_pages(info[name]) for name in ("image_path", "mask_path"))
    except UserError:  # the message comes when the pair is read
        return [info]
    if pages != of_mask:
        raise UserError(
            f"{info['mask_path']}: has {of_mask} pages, its image {pages}. Make them equal."
        )
    return [info] if pages == 1 else [{**info, "page": page} for page in range(pages)]


def describe(path, page=0):
    """Returns whether an image has more than 8 bits, and its orientation, 1 to 8 as in EXIF."""
    with _explained(path), Page(path, page) if is_tiff(path) else Image.open(path) as file:
        if isinstance(file, Page):
            return file.deep, file.orientation
        deep = file.mode.startswith(("I", "F")) or _narrowed(file)
        return deep, file.getexif().get(ORIENTATION, 1)


class SizesDiffer(UserError):
    """A mask does not fit its image."""

    kind = "of sizes that differ"


def check_sizes(info: dict, image: np.ndarray, mask: np.ndarray) -> None:
    """Makes sure that an image and its mask, `[H, W, ...]`, are of one size and not too large.

    Raises:
        UserError: if they are not. It says if EXIF data turns only one of the files, which are
            those of `info`, an entry of `image_info`.
    """
    if max(image.shape) > LONGEST_SIDE:
        what = f"{info['image_path']}: is longer than {LONGEST_SIDE} pixels."
        raise UserError(f"{what} Cut it into smaller images.")
    if mask.shape == image.shape[:2]:
        return
    pair, page, advice = ("image", "mask"), info.get("page", 0), "Make them equal."
    turned = [kind for kind in pair if describe(info[f"{kind}_path"], page)[1] in TURNED]
    if mask.shape[:2] == image.shape[1::-1] and len(turned) == 1:
        advice = (
            f"EXIF data turns the {turned[0]} by 90 degrees, and not the other. Turn the pixels, "
            "and take the EXIF data out."
        )
    sizes = (f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image))
    text = "{}: the mask is {} pixels, its image {} (width x height). {}"
    raise SizesDiffer(text.format(info["mask_path"], *sizes, advice))


def _read(path, page, convert, half=False):
    """The values of a page, and whether 0 means white; `convert` makes them of Pillow's image."""
    with _explained(path):
        if is_tiff(path):
            with Page(path, page) as tiff:
                _refuse_huge(*tiff.size)
                values = tiff.values()
                values = convert(values, 1) if isinstance(values, Image.Image) else values
                if values is not None:
                    return _upright(values, tiff.orientation), tiff.white_is_zero
                with Image.open(tiff.file) as image:
                    return _loaded(image, convert, tiff.white_is_zero), tiff.white_is_zero
        with Image.open(path) as image:
            image.seek(page)
            _refuse_huge(*image.size)
            if half:
                image.draft(None, tuple(side // 2 for side in image.size))
            if not _narrowed(image):
                return _loaded(image, convert), False
            values = decode(np.fromfile(path, np.uint8))
            if values is None:
                raise ValueError("OpenCV does not know this kind")
            return _upright(values, image.getexif().get(ORIENTATION, 1)), False


def _loaded(image, convert, inverted=False):
    """The values of Pillow's image, upright; those of few bits are not to stay inverted."""
    kind = str(image.tile[0][3]) if image.tile else ""
    scale = next((scale for name, scale in _SCALED.items() if name in kind), 1)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if inverted and image.mode in ("1", "L"):
        image = ImageOps.invert(image)
    return convert(image, scale)


def _narrowed(image):
    """Whether Pillow would keep only 8 of 16 bits, as it does with colours."""
    kind = image.tile[0][3] if image.tile else ""
    wide = image.format == "PPM" and isinstance(kind, tuple) and kind[-1] > 255
    return image.mode in _COLOURED and (wide or "16" in str(kind))


def _upright(values, orientation):
    """Turns and mirrors values `[H, W, ...]` as EXIF means it."""
    values = values.swapaxes(0, 1) if orientation in TURNED else values
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(values[:: -1 if rows else 1, :: -1 if columns else 1])


def _refuse_huge(width, height):
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError


@contextlib.contextmanager
def _explained(path):
    """Whatever goes wrong is a UserError that names the file."""
    warnings.filterwarnings("ignore", module="PIL")  # what matters is refused here
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        most = Image.MAX_IMAGE_PIXELS
        why, more = "--tile takes", ""
        if most != LARGEST:
            why, more = "Pillow takes for harmless", f" predict.py --tile takes up to {LARGEST:,}."
        raise UserError(
            f"{path}: has more than the {most:,} pixels that {why}. "
            f"Cut it into smaller images.{more}"
        ) from error
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise UserError(
            f"{path}: cannot be read as an image ({error}). Replace the file."
        ) from error
