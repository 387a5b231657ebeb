"""TIFF files of all kinds, written and read by tifffile to compare with."""

import io
import struct
import time
import zlib
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from core.imaging.image import count_pages, describe, read_mask, read_values
from core.imaging.intensity import read_image
from core.prediction.outputs import _joined
from core.support.errors import UserError
from core.support.threads import mapped

OLD = cv2.__version__ < "5"  # does not know 32 bits without a sign
TYPES = ("u1", "u2", "i2", "u4", "f4", "f8")


def written(values, name="x.tif", **options):
    tifffile.imwrite(name, values, metadata=None, **options)
    return Path(name)


def values_of(rng, shape, dtype):
    return (rng.random(shape) * (1 if dtype[0] == "f" else 250 if dtype == "u1" else 30000)).astype(
        dtype
    )


@pytest.mark.parametrize(
    ("compression", "predictor"), [(None, False), ("zlib", False), ("zlib", True)]
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", TYPES)
def test_colours_of_every_layout_are_read_right_or_refused(
    rng, dtype, planar, compression, predictor
):
    if predictor and dtype.startswith("f"):
        return  # those need a package of their own to be written
    for bands, order, tile in product((3, 4), "<>", (None, (16, 16))):
        values = values_of(rng, (40, 36, bands), dtype)
        path = written(
            np.moveaxis(values, -1, 0) if planar == "separate" else values,
            photometric="rgb",
            planarconfig=planar,
            extrasamples=["unassalpha"][: bands - 3],
            compression=compression,
            predictor=predictor,
            byteorder=order,
            tile=tile,
        )
        rare = planar == "separate" and dtype != "u1" and tile
        rare = rare or OLD and dtype == "u4" and tile
        if rare:
            with pytest.raises(UserError, match=r"x.tif: cannot be read: values of \d+ bits"):
                read_values(path)
            continue
        found, white_is_zero = read_values(path)
        assert not white_is_zero and found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, values[..., :3])
        if dtype == "u2":
            wanted = np.rint(values[..., :3].astype(float) / 257)
            np.testing.assert_array_equal(read_image(path, 3, 0, (0, 65535)), wanted)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", TYPES)
def test_greys_of_every_layout(rng, dtype, compression):
    for alpha, order, tile, big in product((0, 1), "<>", (None, (16, 16)), (False, True)):
        if alpha and (compression or tile) or big and order == ">" or OLD and tile:
            continue  # Pillow does not know BigTIFF of that order
        values = values_of(rng, (40, 36, 1 + alpha), dtype)
        path = "x.tif"
        with tifffile.TiffWriter(path, byteorder=order, bigtiff=big) as file:
            file.write(
                values if alpha else values[..., 0],
                photometric="minisblack",
                extrasamples=["unassalpha"] * alpha,
                compression=compression,
                tile=tile,
                metadata=None,
            )
        found, _ = read_values(path)
        np.testing.assert_array_equal(found, values[..., 0])


@pytest.mark.parametrize(("bits", "dtype"), [(1, "u1"), (8, "u1"), (16, "u2"), (32, "f4")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero_at_all_depths(bits, dtype, compression):
    """Images are shown as a viewer does, 0 white; masks have the values that are stored."""
    top = 1 if bits in (1, 32) else 2**bits - 1
    values = np.array([[0, 1], [top, 0]] * 8, dtype).repeat(8, 1)
    written(
        values.astype(bool) if bits == 1 else values,
        photometric="miniswhite",
        compression=compression,
    )
    wanted = 255 - np.rint(values.astype(float) * 255 / top)
    np.testing.assert_array_equal(read_image("x.tif", 1, 0, (0, max(top, 1)))[..., 0], wanted)
    if bits == 16:
        values = values.clip(0, 200)
        written(values, photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(read_mask("x.tif"), values)


def test_white_is_zero_of_few_bits():
    """A page of 4 bits by hand, in Pillow's own frame: 0, 1, 2, 15."""
    written(np.array([[0x01, 0x2F]], np.uint8), photometric="miniswhite")
    data = bytearray(Path("x.tif").read_bytes())
    with tifffile.TiffFile("x.tif") as file:
        tags = {tag.name: tag.valueoffset for tag in file.pages[0].tags}
    data[tags["BitsPerSample"]], data[tags["ImageWidth"]] = 4, 4
    Path("x.tif").write_bytes(data)
    assert read_mask("x.tif").tolist() == [[0, 1, 2, 15]]
    assert read_image("x.tif", 1)[..., 0].tolist() == [[255, 238, 221, 0]]


def test_overviews_are_no_pages(rng):
    """As of a cloud-optimized GeoTIFF: full size, smaller ones, and a mask of what is known."""
    images = rng.integers(0, 255, (2, 32, 32, 3), np.uint8)
    with tifffile.TiffWriter("cog.tif") as file:
        for image in images:
            file.write(image[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
            file.write(image, photometric="rgb", metadata=None)
            file.write(image[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
            file.write(image[..., 0] > 9, subfiletype=4, metadata=None)
    assert count_pages(Path("cog.tif")) == 2
    for page in range(2):
        np.testing.assert_array_equal(read_image("cog.tif", 3, page), images[page])
        np.testing.assert_array_equal(read_mask("cog.tif", page), images[page])
    with pytest.raises(UserError, match="cog.tif: .*no page 2"):
        read_image("cog.tif", 3, 2)


@pytest.mark.parametrize("kind", ["L", "RGB", "P"])
@pytest.mark.parametrize(
    "compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"]
)
def test_images_that_pillow_has_written(rng, kind, compression):
    image = Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).convert(kind)
    for tags in ({}, {317: 2}, {274: 6}):
        if tags.get(317) and (compression == "raw" or compression == "packbits"):
            continue
        image.save("x.tif", compression=compression, tiffinfo=tags)
        turns = -1 if 274 in tags else 0
        pairs = (read_image("x.tif"), image.convert("RGB")), (read_mask("x.tif"), image)
        for found, wanted in pairs:
            np.testing.assert_array_equal(found, np.rot90(np.asarray(wanted), turns))


@pytest.mark.parametrize(
    ("kind", "compression"),
    [("L", "raw"), ("L", "tiff_lzw"), ("L", "tiff_adobe_deflate"), ("P", "tiff_adobe_deflate")],
)
def test_the_time_for_a_stack_grows_with_its_pages(kind, compression):
    """Writes and reads 3,000 pages, by processor time, which other programs do not change."""
    files = [io.BytesIO() for _ in range(250)]
    for value, file in enumerate(files):
        page = Image.new("L", (16, 16), value)
        if kind == "P":
            page.putpalette(np.arange(256, dtype=np.uint8).repeat(3).tobytes())
        page.save(file, "TIFF", compression=compression)
    began = time.process_time()
    with _joined(Path("stack.tif"), 3000) as add:
        for number in range(3000):
            add(files[number % 250].getvalue())
    count = count_pages(Path("stack.tif"))
    for read in (lambda page: read_image("stack.tif", 1, page)), partial(read_mask, "stack.tif"):
        assert [values.max() for values in mapped(read, range(count), 8)] == [*range(250)] * 12
    # one reading takes 0.3 to 0.5 s; if all pages from the first on are passed for each, 100 s
    assert time.process_time() - began < 4


def test_a_file_that_is_replaced_meanwhile_is_read_anew():
    for count in (2, 3):
        with tifffile.TiffWriter("stack.tif") as file:
            for page in range(count):
                file.write(np.full((4, 4), 10 * count + page, np.uint8), metadata=None)
        assert count_pages(Path("stack.tif")) == count
        assert (read_image("stack.tif", 1, count - 1) == 11 * count - 1).all()


@pytest.mark.parametrize("orientation", range(1, 10))  # 9 has no meaning: viewers ignore it
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_orientations(rng, orientation, compression):
    """As Pillow turns the same image of 8 bits."""
    values = rng.integers(0, 255, (3, 5, 3), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(values).save("x.png", exif=exif)
    tag = [(274, "H", 1, orientation, True)]
    for name, factor, dtype in (("8.tif", 1, "u1"), ("16.tif", 257, "u2")):
        deep = (values * np.uint16(factor)).astype(dtype)
        written(deep, name, photometric="rgb", extratags=tag, compression=compression)
        assert describe(name) == (dtype == "u2", orientation)
    wanted = read_image("x.png")
    assert wanted.shape == ((5, 3, 3) if 4 < orientation < 9 else (3, 5, 3))
    assert describe("x.png") == (False, orientation)
    for name in ("8.tif", "16.tif"):
        np.testing.assert_array_equal(read_image(name), wanted)
        np.testing.assert_array_equal(read_mask(name), wanted)


def test_bands_that_are_no_colours_are_counted():
    for bands, dtype in product((2, 3, 4), (np.uint8, np.uint16)):
        written(np.zeros((8, 8, bands), dtype), photometric="minisblack", planarconfig="contig")
        with pytest.raises(UserError, match=f"x.tif: has {bands} bands"):
            read_image("x.tif")


@pytest.mark.parametrize("size", [0.05, 0.5, 0.97])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_is_cut_off_says_so(rng, size, compression):
    pages = rng.integers(0, 255, (3, 64, 64), np.uint8)
    with tifffile.TiffWriter("x.tif") as file:
        for page in pages:
            file.write(page, contiguous=False, compression=compression, metadata=None)
    whole = Path("x.tif").read_bytes()
    Path("x.tif").write_bytes(whole[: int(size * len(whole))])
    with pytest.raises(UserError, match="x.tif: cannot be read .*cut off"):
        for page in range(count_pages(Path("x.tif"))):
            read_image("x.tif", 1, page)


def test_deep_colours_of_other_formats(rng):
    """Pillow would keep 8 of their 16 bits."""
    values = rng.integers(0, 4096, (5, 6, 3)).astype(np.uint16)
    Path("x.ppm").write_bytes(b"P6\n6 5\n4095\n" + values.astype(">u2").tobytes())
    cv2.imwrite("x.png", values[..., ::-1])
    cv2.imwrite("alpha.png", np.dstack([values[..., ::-1], values[..., 0]]))
    for name in ("x.ppm", "x.png", "alpha.png"):
        assert describe(name) == (True, 1)
        np.testing.assert_array_equal(read_values(name)[0], values)
        wanted = np.rint(values * (255 / 4095))
        np.testing.assert_array_equal(read_image(name, 3, 0, (0, 4095)), wanted)
    png = Path("x.png").read_bytes()
    chunk = b"eXIf" + struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 274, 3, 1, 6, 0, 0)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    Path("turned.png").write_bytes(png[:33] + chunk + png[33:])
    assert describe("turned.png") == (True, 6)
    np.testing.assert_array_equal(read_values("turned.png")[0], np.rot90(values, -1))
