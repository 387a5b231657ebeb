"""TIFF files: where their pages are, and the values of pages that Pillow does not read right."""

import functools
import io
import os
import struct
import zlib

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from core.support.errors import UserError

# The numbers of tags, see TIFF 6.0, 1992
_KIND, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_ORDER, _STRIPS, _ORIENTATION, _BANDS, _COUNTS, _PLANAR = 266, 273, 274, 277, 279, 284
_PREDICTOR, _COLOURS, _TILES, _TILE_COUNTS, _EXTRA, _FORMAT = 317, 320, 324, 325, 338, 339
_NO_IMAGE = 1 | 4  # of _KIND: a smaller copy of another page, such as an overview, or its alpha
_RGB, _PALETTE, _CMYK = 2, 3, 5  # of _PHOTOMETRIC; greys have 0 if 0 is white, else 1
_ZLIB = (8, 32946)  # of _COMPRESSION
_KINDS = {1: "u", 2: "i", 3: "f"}  # of _FORMAT


class _File(io.FileIO):
    """A file whose first bytes read as `header`."""

    header = b""

    def readinto(self, buffer):
        start, count = self.tell(), super().readinto(buffer)
        head = self.header[start : start + count]
        memoryview(buffer)[: len(head)] = head
        return count


class Page:
    """A page of a TIFF file that is open for reading, in a `with` block.

    Any page is reached at once. The way through all pages before it, as Pillow and OpenCV go, would
    let the time for a stack grow with the square of its pages.

    Attributes:
        file: the file; its header names this page as the first one, for Pillow.
        count: how many pages the file has, without overviews, thumbnails and the like.
        size: width and height.
        orientation: where the first row and column are, 1 to 8 as in EXIF.
        white_is_zero: whether the values are to be shown inverted.
        deep: whether a value has more than 8 bits.
    """

    def __init__(self, path, page: int = 0):
        self.path = path
        raw = _File(path)
        self.file = io.BufferedReader(raw)
        try:
            header = _header(raw)
            stat = os.fstat(raw.fileno())
            offsets = _offsets(str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
            self.count = len(offsets)
            if page >= self.count:
                raise ValueError(f"there is no page {page}, but {self.count} pages from 0")
            big = len(header) == 16
            self._endian = "<" if header.startswith(b"II") else ">"
            place = struct.pack(f"{self._endian}{'Q' if big else 'I'}", offsets[page])
            raw.header = header[: 8 if big else 4] + place
            self._tags = ImageFileDirectory_v2(header)
            self.file.seek(offsets[page])
            self._tags.load(self.file)
            self._end = self.file.tell()  # behind the position of the next page
            self.file.seek(0)
            self._check(stat.st_size)
        except BaseException:
            self.file.close()
            raise
        self.size = self._tags[_WIDTH], self._tags[_HEIGHT]
        self.orientation = self._tags.get(_ORIENTATION, 1)
        self.white_is_zero = self._photometric == 0
        self.deep = self._bits > 8

    def __enter__(self):
        """Nothing is left to do."""
        return self

    def __exit__(self, *_):
        """Closes the file."""
        self.file.close()

    def _check(self, size):
        """Refuses a page that is not whole, and bands of unknown meaning."""
        tags = self._tags
        self._photometric = tags.get(_PHOTOMETRIC, 0)
        self._bits, self._bands = max(tags.get(_BITS, (1,))), tags.get(_BANDS, 1)
        for starts, counts in ((_STRIPS, _COUNTS), (_TILES, _TILE_COUNTS)):
            if starts in tags and counts in tags:
                missing = max(map(sum, zip(tags[starts], tags[counts], strict=False))) - size
                if missing > 0:
                    raise ValueError(f"the file is cut off, {missing:,} bytes are missing")
        if not {_WIDTH, _HEIGHT} <= set(tags):
            raise ValueError("a page does not say how large it is")
        alpha = sum(kind in (1, 2) for kind in tags.get(_EXTRA, ()))
        if self._photometric in (0, 1) and self._bands - alpha > 1:
            raise UserError(
                f"{self.path}: has {self._bands} bands and does not say that they are colours. "
                "Save one band, grey, or three, red, green and blue."
            )

    def values(self) -> np.ndarray | Image.Image | None:
        """Reads what Pillow reads wrong, slowly or not at all; None where it is to read.

        Returns:
            An image with a palette, or `[H, W]` or `[H, W, 3]` of the file's own type: not
            inverted, and not yet turned as the `orientation` is from now on.

        Raises:
            UserError: if nothing can read the page.
        """
        found = self._plain()
        if found is not None and self._photometric == _PALETTE:
            colours = np.reshape(self._tags[_COLOURS], (3, -1)).T >> 8
            found = Image.fromarray(found)
            found.putpalette(colours.astype(np.uint8).tobytes())
        if found is None and self._simple():
            found = self._by_opencv()
        if found is not None or not self.deep:
            return found
        apart = self._bands > 1 and self._tags.get(_PLANAR, 1) == 2
        if self._bands == 1 or self._photometric == _RGB and not apart:
            found = self._by_opencv()
        # Pillow reads greys and CMYK; where the first byte is the highest, it may exchange them.
        colours = self._bands > 1 and self._photometric != _CMYK
        if found is None and (colours or apart or self._endian == ">" or self._bits == 64):
            raise UserError(
                f"{self.path}: cannot be read: values of {self._bits} bits, stored in a rare way. "
                "Save it uncompressed, without tiles."
            )
        return found

    def _plain(self):
        """The values of strips without compression or with zlib's, None for others."""
        tags, bits, bands = self._tags, self._bits, self._bands
        kind = _KINDS.get(max(tags.get(_FORMAT, (1,))))
        palette = self._photometric == _PALETTE and bits == 8 and bands == 1
        grey, packing = self._photometric in (0, 1) or palette, tags.get(_COMPRESSION, 1)
        planes = bands if tags.get(_PLANAR, 1) == 2 else 1
        differences = packing != 1 and tags.get(_PREDICTOR, 1) == 2
        if (
            packing not in (1, *_ZLIB)
            or packing != 1
            and not differences
            and tags.get(_PREDICTOR, 1) != 1
            or not {_STRIPS, _COUNTS} <= set(tags)
            or len({*tags.get(_BITS, (1,))}) + len({*tags.get(_FORMAT, (1,))}) > 2
            or not (grey or self._photometric == _RGB and bands >= 3)
            or (kind, bits) not in [("u", 8), *((k, b) for k in "uif" for b in (16, 32, 64))]
            or bits == 8
            and ((tags.get(_EXTRA) and planes == 1) or tags.get(_ORDER, 1) != 1)
        ):
            return None
        shape, dtype = self.size[::-1], np.dtype(f"{self._endian}{kind}{bits // 8}")
        data = np.empty(shape[0] * shape[1] * bands * dtype.itemsize, np.uint8)
        end = 0
        for start, count in zip(tags[_STRIPS], tags[_COUNTS], strict=True):
            self.file.seek(start)
            strip = self.file.read(count)
            if packing != 1:
                strip = zlib.decompressobj().decompress(strip, data.size)
            if end + len(strip) > data.size:
                return None
            data[end : end + len(strip)] = np.frombuffer(strip, np.uint8)
            end += len(strip)
        if end != data.size:
            return None
        values = data.view(dtype)
        if not dtype.isnative:
            values = values.byteswap(inplace=True).view(dtype.newbyteorder("="))
        values = values.reshape(planes, *shape, bands // planes)
        if differences:  # of each value to its left neighbour
            for row in values.reshape(-1, *values.shape[2:]):
                np.cumsum(row, 0, row.dtype, row)
        values = np.concatenate(values, -1) if planes > 1 else values[0]
        return values[..., 0] if grey else values[..., :3]

    def _simple(self):
        """Whether this is 8-bit grey or RGB as LZW or PackBits; Pillow would pass all pages."""
        tags = self._tags
        return (
            tags.get(_COMPRESSION) in (5, 32773)
            and (self._photometric, self._bands) in ((1, 1), (_RGB, 3))
            and set(tags.get(_BITS, ())) == {8}
            and {1} == {tags.get(tag, 1) for tag in (_ORDER, _ORIENTATION, _PLANAR)}
            and max(tags.get(_FORMAT, (1,))) == 1
        )

    def _by_opencv(self):
        """The values of colours that lie pixel by pixel, and of single bands, upright."""
        header = self.file.raw.header
        data = np.memmap(self.path, np.uint8, "c")  # changes stay in memory
        data[: len(header)] = np.frombuffer(header, np.uint8)
        data[self._end - len(header) // 2 : self._end] = 0  # or libtiff counts all pages behind
        values, self.orientation = decode(data), 1  # it has turned them
        return None if values is None or values.dtype.itemsize * 8 != self._bits else values


def decode(data: np.ndarray) -> np.ndarray | None:
    """Decodes the bytes of a file, uint8 `[N]`, by OpenCV, which keeps all bits; None if it cannot.

    Returns:
        `[H, W]` or, red first, `[H, W, 3]`.
    """
    quiet = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # of OpenCV 4, 5
    quiet(0)  # the caller says what is wrong
    try:
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return values if values is None or values.ndim == 2 else values[..., 2::-1]


def is_tiff(path) -> bool:
    """Says whether a file is a TIFF file, by its content."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _header(file):
    """The first bytes of a TIFF file: 16 of BigTIFF, which has positions of 64 bits, or else 8."""
    header = file.read(8)
    return header + file.read(8) if b"+" in header[2:4] else header


@functools.lru_cache(maxsize=256)
def _offsets(path, *stamp):
    """Where the pages of a file lie; the `stamp` tells it from others of its name."""
    images, seen, size = [], set(), stamp[1]
    with open(path, "rb") as file:
        tags = ImageFileDirectory_v2(_header(file))
        position = tags.next
        while position and position not in seen:
            seen.add(position)
            file.seek(position)
            tags.load(file)
            if tags.next == position or position >= size:  # it has not been read to its end
                raise ValueError("the file is cut off: a page begins where it ends")
            if not tags.get(_KIND, 0) & _NO_IMAGE:
                images.append(position)
            position = tags.next
    return images or sorted(seen)[:1]
