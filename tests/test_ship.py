import os
import zipfile

import keras
import numpy as np
import pytest

from core.config import PRESETS, Config, Found
from core.prediction.model_file import load_model, read_settings, save_model
from core.support.errors import UserError
from nets.unet import UNet
from tools.ship import PRECISIONS, rounded, ship

CONFIG = Config(
    data="/home/me/voc",
    encoder_weights="/home/me/lite0.weights.h5",
    init_weights="/home/me/runs/first",
    class_names=("background", "cat"),
    size=(32, 32),
)

FOUND = Found(palette=((0, 0, 0), (9, 9, 9)))


@pytest.fixture
def model(tmp_path):
    model = UNet((None, None, 3), 2, 8, normalization="batch")
    save_model(model, tmp_path / "best.keras", CONFIG, FOUND)
    return model


@pytest.mark.deep
def test_half_as_large_and_nearly_the_same(model, tmp_path, rng):
    source, target = tmp_path / "best.keras", tmp_path / "weights" / "small.keras"
    ship(source, target)
    alone = keras.saving.load_model(target)
    for before, after in zip(model.weights, alone.weights, strict=True):
        assert after.dtype == "float32"
        exact = len(before.shape) == 1
        np.testing.assert_allclose(
            after, before, rtol=0 if exact else 5e-4, atol=0 if exact else 1e-7
        )
    pictures = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(alone(pictures), model(pictures), atol=2e-2)
    assert os.path.getsize(target) < 0.6 * os.path.getsize(source)


def test_rounded_by_hand():
    """To 16 significant bits, to the nearest; of two that are as near, to the even one."""
    exact = [0, 1, -1.5, 1 + 2**-15, 3 * 2**-20]
    np.testing.assert_array_equal(rounded(np.float32(exact)), np.float32(exact))
    last = 2**-15
    for given, wanted in [(0.4, 0), (0.5, 0), (0.6, 1), (1.5, 2), (2.5, 2)]:
        assert rounded(np.float32([1 + given * last])) == 1 + wanted * last, given
        assert rounded(np.float32([-1 - given * last])) == -1 - wanted * last, given
    assert rounded(np.float32([2 - last / 2])) == 2  # the exponent grows
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.testing.assert_allclose(rounded(values), values, rtol=2**-16)


@pytest.mark.deep
def test_rounded_files_lie_between(model, tmp_path):
    sizes = {}
    for precision in PRECISIONS:
        ship(tmp_path / "best.keras", tmp_path / f"{precision}.keras", precision)
        sizes[precision] = os.path.getsize(tmp_path / f"{precision}.keras")
    assert sizes["float16"] < sizes["rounded"] < 0.8 * sizes["float32"]
    alone = keras.saving.load_model(tmp_path / "rounded.keras")
    for before, after in zip(model.weights, alone.weights, strict=True):
        wanted = before.numpy() if len(before.shape) == 1 else rounded(before.numpy())
        np.testing.assert_array_equal(after, wanted)


def test_an_optimizer_stays_at_home(model, tmp_path):
    """As in last.keras: two moments, three times as large."""
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    save_model(model, tmp_path / "last.keras", CONFIG, FOUND, optimizer=optimizer)
    ship(tmp_path / "best.keras", tmp_path / "of_best.keras")
    ship(tmp_path / "last.keras", tmp_path / "of_last.keras")
    sizes = [os.path.getsize(tmp_path / name) for name in ("of_best.keras", "of_last.keras")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)
    assert not keras.saving.load_model(tmp_path / "of_last.keras").compiled


def test_nothing_of_the_machine_goes_along(model, tmp_path):
    ship(tmp_path / "best.keras", tmp_path / "small.keras")
    config, found = read_settings(tmp_path / "small.keras")
    assert load_model(tmp_path / "small.keras")[1:] == (config, found) and found == FOUND
    assert config.data == PRESETS["voc"].data
    assert b"/home/me" not in (tmp_path / "small.keras").read_bytes()


def test_models_of_earlier_commits_become_loadable_by_older_kerases(model, tmp_path):
    """They have arguments that are not used, but that older versions refuse."""
    config = zipfile.ZipFile(tmp_path / "best.keras").read("config.json")
    used = b'"class_name": "HeNormal", "config": {'
    assert used + b"}" in config
    with_unused = config.replace(used + b"}", used + b'"seed": null}')
    cut(tmp_path / "best.keras", tmp_path / "early.keras", config=with_unused)
    ship(tmp_path / "early.keras", tmp_path / "small.keras")
    assert zipfile.ZipFile(tmp_path / "small.keras").read("config.json") == config


def test_weights_beyond_half_precision(model, tmp_path):
    model.get_layer("logits").kernel.assign_add([[[[7e4]]]])
    save_model(model, tmp_path / "best.keras", CONFIG, FOUND)
    with pytest.raises(UserError, match="float16 cannot hold.* --precision float32"):
        ship(tmp_path / "best.keras", tmp_path / "small.keras")
    assert sorted(os.listdir(tmp_path)) == ["best.keras"]


@pytest.mark.deep
def test_every_weight_as_it_is(model, tmp_path):
    ship(tmp_path / "best.keras", tmp_path / "exact.keras", "float32")
    alone = keras.saving.load_model(tmp_path / "exact.keras")
    for before, after in zip(model.weights, alone.weights, strict=True):
        np.testing.assert_array_equal(after, before)
    sizes = [os.path.getsize(tmp_path / name) for name in ("exact.keras", "best.keras")]
    assert sizes[0] < 0.97 * sizes[1]  # compressed without loss


def cut(path, target, **members):
    """Copies a .keras file with members of other content, or (None) without them."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = members.get(name.split(".")[0], old.read(name))
            if content is not None:
                new.writestr(name, content)


@pytest.mark.parametrize("members", [{"model": None}, {"model": b"x"}, {"config": b"{}"}])
def test_a_damaged_source_is_named_and_the_target_stays(model, tmp_path, members):
    cut(tmp_path / "best.keras", tmp_path / "damaged.keras", **members)
    target = tmp_path / "new" / "small.keras"
    with pytest.raises(UserError, match="damaged.keras: Keras cannot load this model"):
        ship(tmp_path / "damaged.keras", target)
    assert not target.parent.exists()


@pytest.mark.parametrize("name", ["cat.jpg", "folder", ".", "best.keras", "folder.keras"])
def test_what_is_no_target_stays(model, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.keras").mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(UserError, match="Name a"):
        ship(tmp_path / "best.keras", name)
    assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
