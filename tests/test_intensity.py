"""The range of values: found from the training images, and the same wherever they are read."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import save_grey_model
from PIL import Image

from core.config import BYTES, PRESETS, Found
from core.dataset import Dataset
from core.evaluation.score import set_range
from core.imaging.intensity import find_outside, find_range
from core.prediction.model_file import from_json, read_settings, to_json
from core.training.fit import find_out, train

FLAGS = ("--class-names", "background,light", "--size", 16, 16, "--filters", 2, "--epochs", 1)


def infos(*images):
    found = []
    for number, values in enumerate(images):
        if values.dtype == np.uint8 and values.ndim == 3:
            Image.fromarray(values).save(f"{number}.png")
        else:
            tifffile.imwrite(f"{number}.png", values)  # the suffix is not what counts
        found.append({"image_path": Path(f"{number}.png"), "mask_path": None})
    return found


def percentiles(*images):
    values = np.concatenate([image.astype(float).ravel() for image in images])
    return tuple(np.percentile(values[np.isfinite(values)], (0.1, 99.9), method="nearest"))


@pytest.mark.parametrize("dtype", ["u2", "i2", "i4", "f4"])
def test_the_range_is_that_of_all_training_images(rng, dtype):
    """As NumPy finds it when it holds all of them; one hot pixel in 4,000 changes nothing."""
    images = [(rng.normal(4000, 300, (64, 64)) - offset).astype(dtype) for offset in (0, 900, 3900)]
    images[0][3, 3], images[2][0, 0] = 30000, -1 if dtype != "u2" else 0
    for workers in (0, 3):
        assert find_range(infos(*images), workers) == pytest.approx(percentiles(*images), rel=1e-7)


def test_floating_point_far_from_zero_and_what_is_no_number(rng):
    image = rng.uniform(1e6, 1e6 + 50, (64, 64)).astype(np.float32)
    image[:2], image[5, 5], image[5, 6] = np.nan, np.inf, -np.inf
    low, high = find_range(infos(image))
    assert (low, high) == percentiles(image) and 1e6 <= low < high <= 1e6 + 50


@pytest.mark.parametrize(
    ("lone", "share"), [(-9999, 0.003), (-3.4e38, 0.2), (0, 0.1), (65535, 0.02), (9e9, 0.24)]
)
def test_values_that_stand_for_no_data_do_not_count(rng, lone, share):
    """As in elevation models: a single value, far from all others. Like those, it may be framed."""
    image = rng.normal(2000, 50, (64, 64)).astype(np.float32)
    alone = find_range(infos(image))
    image.ravel()[: round(share * image.size)] = lone
    low, high = find_range(infos(image))
    assert low == pytest.approx(alone[0], rel=0.05) and high == pytest.approx(alone[1], rel=0.05)


def test_values_that_are_no_few_or_not_far_do_count(rng):
    image = rng.normal(2000, 50, (64, 64)).astype(np.float32)
    half, near, dark = image.copy(), image.copy(), np.zeros((64, 64), np.float32)
    half[:32], near[:9], dark[:9] = 0, 1500, image[:9]
    assert find_range(infos(half))[0] == 0 == find_range(infos(dark))[0]
    assert find_range(infos(near))[0] == 1500
    bright = image.copy()
    bright[:6] = rng.integers(64600, 64900, (6, 64))  # several values, far away: bright objects
    assert find_range(infos(bright))[1] > 64800


def test_colours_have_one_range(rng):
    image = rng.integers(0, 4096, (64, 64, 3)).astype(np.uint16)
    image[..., 2] //= 4
    assert find_range(infos(image)) == percentiles(image)


def test_images_of_8_bits_and_deeper_ones(rng):
    """Those of 8 bits are scaled already; the others have a range, which leaves those alone."""
    bright = rng.integers(0, 256, (64, 64, 3), np.uint8)
    deep = rng.integers(500, 3900, (64, 64)).astype(np.uint16)
    assert find_range(infos(bright)) == BYTES
    assert find_range(infos(bright, deep)) == percentiles(deep)
    assert find_range(infos(bright, deep % 200)) == BYTES  # 16 bits, but the values of 8
    assert find_range(infos(deep % 200)) == percentiles(deep % 200)
    share = rng.random((64, 64), np.float32)
    assert find_range(infos(bright, share)) == percentiles(share)


@pytest.mark.parametrize(("value", "wanted"), [(0, (0, 1)), (7, (7, 8))])
def test_images_of_one_value(value, wanted):
    assert find_range(infos(np.full((8, 8), value, np.uint16))) == wanted
    points = np.full((64, 64), value, np.uint16)
    points[0, :2] = 900  # too few for the percentiles, which would be equal
    assert find_range(infos(points)) == (value, 900)


def test_images_that_cannot_be_read_are_left_out(rng):
    deep = rng.integers(500, 3900, (64, 64)).astype(np.uint16)
    found = infos(deep, deep)
    Path("1.png").write_bytes(b"II*\0")
    assert find_range([*found, {"image_path": Path("none.tif")}]) == percentiles(deep)


def test_the_share_outside(rng):
    deep = np.arange(100, dtype=np.uint16).reshape(10, 10) + 1000
    bright = np.zeros((10, 10, 3), np.uint8)
    assert find_outside(infos(deep, bright), (1010, 1094)) == pytest.approx(0.15)
    assert find_outside(infos(bright), BYTES) is None


def test_hot_pixels_and_pages_do_not_change_the_image(rng):
    """The measured fault: a page with one pixel above 4095 was 16 times darker than the others."""
    pages = np.stack([rng.integers(500, 3900, (64, 64))] * 4).astype(np.uint16)
    pages[1:, 0, 0] = 4095, 4096, 65535
    with tifffile.TiffWriter("stack.tif") as file:
        for page in pages:
            file.write(page, contiguous=False)
    data = Dataset(channels=1)
    data.image_info = [{"image_path": Path("stack.tif"), "page": page} for page in range(4)]
    first, *others = map(data.read_image, range(4))
    assert 120 < first.mean() < 135 and first.min() == 0 and first.max() == 255
    for other in others:
        np.testing.assert_array_equal(other.ravel()[1:], first.ravel()[1:])


def own_data(folder, scale, names="abcdefgh", dtype=np.uint16):
    """Halves of 1,000 and 3,000, times `scale`, with a hot pixel in the first image."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        Path(folder, kind).mkdir(parents=True)
    for name in names:
        mask = np.zeros((32, 32), np.uint8)
        mask[:, rng.integers(8, 24) :] = 1
        values = rng.normal(1000, 50, mask.shape) + 2000.0 * mask
        values[0, 0] = 60000 if name == names[0] else 1000
        tifffile.imwrite(f"{folder}/images/{name}.tif", (values * scale).astype(dtype))
        Image.fromarray(mask).save(f"{folder}/masks/{name}.png")
    return folder


def test_all_scripts_use_the_range_of_the_training(eagerly, call):
    own_data("data", 1)
    status, out, err = call("train", "--data", "data", *FLAGS)
    assert status == 0, err
    config, found = read_settings("runs/folder/best.keras")
    low, high = found.intensity
    assert 700 < low < 1000 and 3000 < high < 3300 and config.intensity is None
    assert err.count(f"Values from {low:g} to {high:g} become 0 to 255;") == 1
    status, out, err = call("predict", "data/images/a.tif", "data/images/b.tif")
    assert status == 0 and "range" not in err
    assert call("evaluate")[::2][0] == 0
    status, out, err = call("train", "--data", "data", *FLAGS, "--check-data")
    assert status == 0
    assert out.count(f"Values from {low:g} to {high:g} become 0 to 255;") == 2
    assert "0.20% of the values lie outside." in out
    # quite another range: 16 times as large; floating point from 0 to 1
    own_data("times16", 16, "abc")
    own_data("float", 1 / 60000, "abc", np.float32)
    for folder in ("times16", "float"):
        status, out, err = call("predict", f"{folder}/images")
        assert status == 0 and err.count("quite another range") == 1
        assert f"{folder}/images/a.tif and 2 more images: " in err
        status, out, err = call("evaluate", "--data", folder)
        assert status == 0 and err.count("quite another range") == 1
    status, out, err = call("predict", "times16/images", "--intensity", 16 * low, 16 * high)
    assert status == 0 and "range" not in err
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save("photo.png")
    status, out, err = call("predict", "photo.png")
    assert status == 0 and err.count("photo.png: the values are of quite another range") == 1
    # a run that is resumed keeps its range
    for path in Path("data/images").iterdir():
        tifffile.imwrite(path, tifffile.imread(path) // 2)
    status, _, err = call("train", "--data", "data", *FLAGS[:-1], 2)
    assert status == 0 and read_settings("runs/folder/last.keras")[1].intensity == (low, high)


@pytest.mark.parametrize("value", [0, 7, 1e17, -3e20])
def test_images_of_one_large_value(value, tmp_path):
    """Some range is still one: its ends differ, and the model can be saved and loaded."""
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 4), value, np.float32))
    low, high = find_range([{"image_path": tmp_path / "a.tif"}])
    assert low == np.float32(value) and np.float32(low) < np.float32(high)


def test_a_named_range_is_taken(eagerly, call):
    own_data("data", 1)
    status, _, err = call("train", "--data", "data", *FLAGS, "--intensity", 0, 4095)
    assert status == 0 and "Values from 0 to 4095 become 0 to 255" in err
    config, found = read_settings("runs/folder/best.keras")
    assert config.intensity == found.intensity == (0, 4095)
    wrong = (("train", 7, 5), ("train", 0, "inf"), ("evaluate", 5, 5), ("predict", 0, "x"))
    for script, low, high in (*wrong, ("predict", 7, 5)):
        more = {"train": ("--data", "data", *FLAGS), "predict": ("data/images",)}.get(script, ())
        status, _, err = call(script, *more, "--intensity", low, high)
        assert status == 2 and "--intensity" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.arange(4096) % 3900, "0 to 4095"),
        (np.r_[np.arange(4095) % 3900, 65535], "0 to 4095"),  # one hot pixel
        (np.arange(4096) * 16, "0 to 65535"),
        (np.arange(4096) / 4096, "0 to 1"),
        (np.r_[np.arange(4095) / 4096, 1.0001], "0 to 1"),
        (np.arange(4096) * 100 - 5000, "-4590.5 to 404091"),
    ],
)
def test_a_model_of_8_bits_says_what_it_assumes_of_others(call, values, wanted):
    """The first such image decides, for all of a run; models of version 0.1 have no range."""
    save_grey_model("model.keras", channels=1)
    assert read_settings("model.keras")[1].intensity is None
    dtype = np.float32 if values.max() < 2 else np.int32 if values.min() < 0 else np.uint16
    deep = values.reshape(64, 64).astype(dtype)
    Path("in").mkdir()
    Image.fromarray(np.full((20, 20), 90, np.uint8)).save("in/a.png")
    tifffile.imwrite("in/b.tif", deep)
    tifffile.imwrite("in/c.tif", deep[:32])
    status, _, err = call("predict", "in", "--weights", "model.keras")
    assert status == 0 and err.count("in/b.tif: has more than 8 bits, unlike") == 1
    assert err.count(f"Values from {wanted} become 0 to 255") == 1 and "another range" not in err
    status, _, err = call("predict", "in", "--weights", "model.keras", "--intensity", 0, 255)
    assert status == 0 and "unlike" not in err


def test_images_of_8_bits_need_no_word(call):
    save_grey_model("model.keras")
    for number, value in enumerate((0, 90, 255)):
        Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(f"{number}.png")
    status, _, err = call("predict", "*.png", "--weights", "model.keras")
    assert status == 0 and "range" not in err and "become" not in err


def test_the_range_is_written_with_the_model():
    config = save_grey_model("model.keras")
    found = Found(palette=((0, 0, 0),) * 3, intensity=(500.5, 3900))
    assert from_json(to_json(config, found))[1] == found
    values = json.loads(to_json(config, found))
    for wrong in ([5, 5], [5], ["a", "b"]):
        values["found"]["intensity"] = wrong
        with pytest.raises((ValueError, TypeError, AttributeError)):
            from_json(json.dumps(values))


class Own(Dataset):
    """A user's data set, which knows nothing of ranges."""

    def __init__(self, folder, target_size=(16, 16)):
        super().__init__(target_size, 2)
        self.image_info = [
            {"image_path": str(path), "mask_path": f"{folder}/masks/{path.stem}.png"}
            for path in sorted(Path(folder, "images").iterdir())
        ]


def test_a_subclass_needs_to_know_nothing_of_it(eagerly):
    """The validation images have the training's range, here those of half the light."""
    own_data("train", 1)
    own_data("val", 0.5)
    config = dataclasses.replace(
        PRESETS["folder"], class_names=("background", "light"), size=(16, 16), filters=1, epochs=1
    )
    data, validation = Own("train"), Own("val")
    found = find_out(config, data, data.check())
    assert found.intensity == data.find_intensity() == find_range(data.image_info)
    assert data.read_image(1).min() == 0 and data.read_image(1).max() == 255
    train(config, found, data, validation, Path("run"))
    assert read_settings("run/best.keras")[1].intensity == found.intensity
    assert 60 < validation.read_image(1)[16, -1, 0] < 90  # 1,500 of 1,000 to 3,000


def test_evaluation_takes_the_range_of_the_model_or_says_what_it_assumes(rng, capfd):
    data = Dataset(channels=1)
    data.image_info = infos(*(rng.integers(500, 3900, (9, 9)).astype(np.uint16) for _ in range(20)))
    set_range(data, (400, 4000), None)
    assert data.find_intensity() == (400, 4000) and not capfd.readouterr().err
    set_range(data, None, None)
    assert data.find_intensity() == (0, 4095)
    assert capfd.readouterr().err.startswith("0.png: has more than 8 bits, unlike the training")
    set_range(data, (0, 1), None)
    assert capfd.readouterr().err.count("quite another range") == 1
    set_range(data, (0, 1), (0, 5000))
    assert data.find_intensity() == (0, 5000)
    assert capfd.readouterr().err.startswith("Values from 0 to 5000 become 0 to 255")
