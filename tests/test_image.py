import struct
import tracemalloc
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from core.dataset import Dataset
from core.imaging.draw import palette_image, write_image
from core.imaging.image import SizesDiffer, count_pages, read_mask, read_values
from core.imaging.intensity import read_image
from core.imaging.tiles import as_array, large_images
from core.support.errors import UserError


def test_read_image_makes_the_wanted_channels(tmp_path):
    Image.new("P", (4, 3)).save(tmp_path / "palette.png")
    Image.new("RGBA", (4, 3), (10, 20, 30, 0)).save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "palette.png").shape == (3, 4, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png")[0, 0], [10, 20, 30])
    assert read_image(tmp_path / "rgba.png", channels=1).shape == (3, 4, 1)


def test_read_image_turns_a_picture_upright(tmp_path):
    picture = Image.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to view
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (4, 2, 3)


@pytest.mark.parametrize(("mode", "orientation"), [("RGB", 1), ("RGB", 6), ("L", 1)])
def test_a_jpeg_comes_in_half_its_size(tmp_path, mode, orientation):
    rows, columns = np.mgrid[:64, :96]
    image = Image.fromarray(np.stack([2 * rows, 2 * columns, 255 - rows], -1).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.convert(mode).save(tmp_path / "image.jpg", exif=exif, quality=95)
    whole, half = (read_values(tmp_path / "image.jpg", half=half)[0] for half in (False, True))
    assert whole.shape[:2] == ((96, 64) if orientation > 4 else (64, 96))
    height, width = half.shape[:2]
    assert (2 * height, 2 * width) == whole.shape[:2] and half.shape[2:] == whole.shape[2:]
    mean = whole.reshape(height, 2, width, 2, -1).mean((1, 3))
    assert abs(mean - half.reshape(mean.shape)).max() < 4  # the chroma is coarser


def test_other_kinds_stay_whole(tmp_path, rng):
    pixels = rng.integers(0, 256, (64, 96, 3), np.uint8)
    for kind in ("png", "tif", "webp"):
        Image.fromarray(pixels).save(tmp_path / f"image.{kind}")
        assert read_values(tmp_path / f"image.{kind}", half=True)[0].shape == pixels.shape


def turned(path, shape, orientation, kind="RGB"):
    image = Image.fromarray(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.convert(kind).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_like_their_images(orientation):
    turned("mask.png", (2, 3), orientation, "L")
    np.testing.assert_array_equal(read_mask("mask.png"), read_image("mask.png", channels=1)[..., 0])
    assert read_mask("mask.png").shape == ((3, 2) if orientation > 4 else (2, 3))


@pytest.mark.parametrize(("image", "mask"), [(6, 1), (1, 8), (6, 3), (6, 6), (1, 1), (3, 1)])
def test_a_pair_of_which_one_is_turned_names_exif(image, mask):
    """The first three differ by a quarter turn; of the others, the mask is of another size."""
    alone = (image > 4) != (mask > 4)
    info = {"image_path": turned("image.jpg", (20, 30), image)}
    info["mask_path"] = turned("mask.png", (20, 30) if alone else (30, 20), mask, "L")
    data = Dataset()
    data.image_info = [info]
    with pytest.raises(SizesDiffer, match="mask.png: the mask is") as error:
        data.load(0)
    assert ("EXIF" in str(error.value)) == alone
    if alone:
        which = "image" if image > 4 else "mask"
        assert f"EXIF data turns the {which} by 90 degrees" in str(error.value)


def test_read_mask_gives_the_values_not_the_colours(tmp_path):
    ids = np.array([[0, 1, 20, 255]], np.uint8)
    write_image(tmp_path / "mask.png", palette_image(ids, [(0, 0, 0), (1, 2, 3)]))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), ids)
    assert Image.open(tmp_path / "mask.png").convert("RGB").getpixel((1, 0)) == (1, 2, 3)
    Image.fromarray(ids).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), ids)


def test_pages(tmp_path):
    pages = [Image.new("L", (4, 3), value) for value in (5, 6)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "stack.tif", 1, page=1)[0, 0, 0] == 6
    assert read_mask(tmp_path / "stack.tif", page=0)[0, 0] == 5


def bad_files(folder):
    Image.new("RGB", (64, 64), (9, 9, 9)).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-200])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    return [folder / name for name in ("cut.jpg", "empty.jpg", "text.jpg", "missing.jpg")]


def test_what_cannot_be_read_is_named(tmp_path):
    for path in bad_files(tmp_path):
        for read in (read_image, read_mask):
            with pytest.raises(UserError, match=path.name):
                read(path)


def test_masks_of_colours_and_of_too_high_values(tmp_path):
    Image.new("RGBA", (4, 3), (1, 2, 3, 9)).save(tmp_path / "colours.png")
    assert read_mask(tmp_path / "colours.png").shape == (3, 4, 3)
    assert (read_mask(tmp_path / "colours.png") == (1, 2, 3)).all()
    save(tmp_path / "deep.png", np.array([[7, 255]], np.uint16))
    assert read_mask(tmp_path / "deep.png").tolist() == [[7, 255]]
    for values in (np.array([[7, 256]], np.uint16), np.array([[0.5]], np.float32)):
        save(tmp_path / "wrong.tif", values)
        with pytest.raises(UserError, match="wrong.tif: .* does not hold ids from 0 to 255"):
            read_mask(tmp_path / "wrong.tif")


def save(path, values):
    Image.fromarray(np.array(values)).save(path)
    return path


@pytest.mark.parametrize("kind", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_every_kind_have_the_model_s_channels(tmp_path, kind, channels):
    """A picture whose left half is black and whose right half is white, however it is stored."""
    halves = np.zeros((4, 8), np.uint8)
    halves[:, 4:] = 255
    picture = Image.fromarray(halves).convert("RGB")
    path = tmp_path / ("picture.tif" if kind == "CMYK" else "picture.png")
    picture.convert(kind).save(path)
    image = read_image(path, channels)
    assert image.dtype == np.uint8 and image.shape == (4, 8, channels)
    np.testing.assert_allclose(image.astype(int), halves[..., None].repeat(channels, -1), atol=3)


def test_transparency_is_dropped(tmp_path):
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == (10, 20, 30)).all()


@pytest.mark.parametrize(
    ("values", "dtype", "intensity", "wanted"),
    [
        ([[0, 100, 255]], np.uint16, (0, 255), [[0, 100, 255]]),
        ([[0, 2048, 4095]], np.uint16, (0, 4095), [[0, 128, 255]]),
        ([[0, 257, 65535]], np.uint16, None, [[0, 1, 255]]),
        ([[499, 500, 600, 1010, 1011]], np.uint16, (500, 1010), [[0, 0, 50, 255, 255]]),
        ([[-7, 257, 70000]], np.int32, (0, 65535), [[0, 1, 255]]),
        ([[0, 0.5, 1.0001]], np.float32, None, [[0, 128, 255]]),
        ([[-1, 0, 3]], np.float32, (-1, 3), [[0, 64, 255]]),
        ([[-1, np.nan, np.inf, -np.inf, 0.2]], np.float32, (0, 1), [[0, 0, 0, 0, 51]]),
        ([[0, 100, 255]], np.uint8, (500, 3900), [[0, 100, 255]]),
        ([[0, 100, 255]], np.uint8, (0, 1), [[0, 100, 255]]),
        ([[0, 50, 100, 255]], np.uint8, (0, 100), [[0, 128, 255, 255]]),
    ],
)
def test_a_range_becomes_0_to_255(tmp_path, values, dtype, intensity, wanted):
    path = save(tmp_path / "deep.tif", np.array(values, dtype))
    for channels in (1, 3):
        found = read_image(path, channels, intensity=intensity)
        np.testing.assert_array_equal(found[..., 0], wanted)


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for size in ((11, 10), (30, 30)):  # Pillow warns of the one and refuses the other
        Image.new("L", size).save(tmp_path / "huge.png")
        with (
            warnings.catch_warnings(),
            pytest.raises(UserError, match="huge.png: .* 100 pix") as error,
        ):
            warnings.simplefilter("error")
            read_image(tmp_path / "huge.png")
        assert "Cut it into smaller images." in str(error.value)
        with large_images(), warnings.catch_warnings():  # for tiles
            warnings.simplefilter("error")
            assert read_image(tmp_path / "huge.png", 1).shape == (*size[::-1], 1)
    with large_images(allowed=False), pytest.raises(UserError, match="--tile takes up to 1,073,"):
        read_image(tmp_path / "huge.png")
    for module in ("tiles", "image"):
        monkeypatch.setattr(f"core.imaging.{module}.LARGEST", 899)
    with large_images(), pytest.raises(UserError, match="899 pixels that --tile takes. Cut .*s.$"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_large_images_are_copied_block_by_block(rng, mode):
    values = rng.integers(0, 256, (1100, 1000), np.uint8)
    image = Image.fromarray(values.astype(np.uint16)) if mode == "I;16" else Image.fromarray(values)
    image = image if mode == "I;16" else image.convert(mode)
    np.testing.assert_array_equal(as_array(image), np.asarray(image))
    assert as_array(image).dtype == np.asarray(image).dtype


@pytest.mark.parametrize(
    ("dtype", "bands", "options", "held"),
    [
        (np.uint8, 3, {}, 1.1),
        (np.uint8, 3, {"compression": "zlib", "predictor": True}, 1.1),
        (np.uint8, 1, {"byteorder": ">"}, 1.1),
        (np.uint16, 1, {"byteorder": ">"}, 1.6),  # the values and the image
    ],
)
def test_reading_holds_little_beyond_the_image(tmp_path, rng, dtype, bands, options, held):
    values = np.arange(3000 * 1000 * bands, dtype=np.uint32).astype(dtype)
    values = values.reshape((3000, 1000, bands) if bands > 1 else (3000, 1000))
    photometric = "rgb" if bands > 1 else "minisblack"
    options = {"rowsperstrip": 50, "photometric": photometric, **options}
    tifffile.imwrite(tmp_path / "large.tif", values, **options)
    read_image(tmp_path / "large.tif", bands)
    tracemalloc.start()
    image = read_image(tmp_path / "large.tif", bands)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    shown = values if dtype == np.uint8 else values >> 8
    np.testing.assert_array_equal(image, shown.reshape(image.shape))
    assert peak < held * values.nbytes + 2**22


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_keep_their_values(tmp_path, bits):
    """A grey PNG by hand, of one row: Pillow writes none of 2 or 4 bits."""
    ids = [0, 1, 1, 0] if bits == 1 else [0, 3, 1, 2]
    packed = sum(
        value << (8 * ((4 * bits + 7) // 8) - bits * (i + 1)) for i, value in enumerate(ids)
    )
    row = b"\0" + packed.to_bytes((4 * bits + 7) // 8, "big")
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b""))
    (tmp_path / "few.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    assert read_mask(tmp_path / "few.png").tolist() == [ids]


def test_pages_are_counted(tmp_path):
    pages = [Image.new("L", (4, 3), value) for value in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "moving.gif", save_all=True, append_images=pages[1:])
    assert count_pages(tmp_path / "stack.tif") == 3 and count_pages(tmp_path / "moving.gif") == 1
    (tmp_path / "cut.tif").write_bytes((tmp_path / "stack.tif").read_bytes()[:200])
    with pytest.raises(UserError, match="cut.tif: cannot be read"):
        count_pages(tmp_path / "cut.tif")


def test_the_upper_bits_where_no_range_is_named(tmp_path, rng):
    """As Pillow reads colours of 16 bits."""
    values = rng.integers(0, 65536, (5, 6, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), values[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), values >> 8)
    cv2.imwrite(str(tmp_path / "grey.tif"), values[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tif", 1)[..., 0], values[..., 0] >> 8)
