import contextlib
import dataclasses
import json
import os
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from core.config import PRESETS, Config, Found
from core.prediction import model_file
from core.prediction.model_file import (
    SHIPPED,
    find_weights,
    from_json,
    load_model,
    read_settings,
    reason_for,
    save_model,
    to_json,
)
from core.support import devices
from core.support.errors import UserError
from nets.unet import UNet

CONFIG = Config(class_names=("background", "cat"), size=(32, 48))
FOUND = Found(palette=((0, 0, 0), (9, 9, 9)))


def saved(path, config=CONFIG, num_classes=2, found=FOUND):
    model = UNet((None, None, 3), num_classes, 2)
    save_model(model, path, config, found)
    return model


def test_a_model_carries_its_settings(tmp_path):
    saved(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras")[1:] == (CONFIG, FOUND)
    assert read_settings(tmp_path / "model.keras") == (CONFIG, FOUND)
    assert os.listdir(tmp_path) == ["model.keras"]


def test_a_model_in_bfloat16(tmp_path, rng):
    """Its weights and probabilities are float32; tests/test_weights.py looks at its masks."""
    keras.utils.set_random_seed(0)
    model = UNet((None, None, 3), 3, 4, normalization="batch")
    config = dataclasses.replace(CONFIG, class_names=("background", "a", "b"))
    save_model(model, tmp_path / "model.keras", config, Found(palette=((0, 0, 0),) * 3))
    image = rng.integers(0, 256, (1, 32, 32, 3), np.uint8)
    full, half = (
        load_model(tmp_path / "model.keras", policy=policy)[0]
        for policy in ("float32", "mixed_bfloat16")
    )
    wanted, found = full.predict_on_batch(image), half.predict_on_batch(image)
    assert found.dtype == np.float32 and 0 < np.abs(found - wanted).mean() < 0.01
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    assert {weight.dtype for weight in half.weights} == {"float32"}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_answers_that_are_not_copied_are_keras_s_own(tmp_path, rng, policy):
    """Also after others have been asked for, and of other sizes."""
    saved(tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras", policy=policy)[0]
    sizes = (1, 32, 32), (2, 32, 48), (1, 32, 32)
    batches = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    found = [model.predict_on_batch(batch) for batch in batches]
    for batch, answer in zip(batches, found, strict=True):
        assert isinstance(answer, np.ndarray) and answer.dtype == np.float32
        np.testing.assert_array_equal(answer, keras.Model.predict_on_batch(model, batch))
    if keras.backend.backend() == "tensorflow":
        assert found[0].base is not None  # a view of what TensorFlow holds


@pytest.mark.parametrize(("gpu", "first"), [(None, "float32"), ((8, 0), "bfloat16")])
def test_what_stays_in_float32(tmp_path, monkeypatch, gpu, first):
    """All from the last convolution on, here the user's softmax, and depthwise convolutions.

    On a processor also what comes before these.
    """
    monkeypatch.setattr(devices, "gpu_generation", lambda: gpu)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.DepthwiseConv2D(3)(keras.layers.Conv2D(4, 3)(inputs))
    x = keras.layers.Conv2D(2, 1, activation="softmax")(keras.layers.ReLU()(x))
    save_model(keras.Model(inputs, x), tmp_path / "model.keras", CONFIG, FOUND)
    model, *_ = load_model(tmp_path / "model.keras", policy="mixed_bfloat16")
    found = [layer.compute_dtype for layer in model.layers]
    assert found[1:] == [first, "float32", "bfloat16", "float32", "float32"]


@pytest.mark.parametrize(
    ("backend", "gpu", "exported", "encoder", "small"),
    [
        ("tensorflow", None, False, "none", True),
        ("tensorflow", None, False, "vgg16", False),
        ("tensorflow", None, True, "none", False),
        ("tensorflow", (8, 0), False, "none", False),
        ("openvino", None, False, "none", False),
    ],
)
def test_where_convolutions_compute_from_the_small_image(
    tmp_path, monkeypatch, backend, gpu, exported, encoder, small
):
    saved(tmp_path / "model.keras", dataclasses.replace(CONFIG, encoder=encoder))
    with monkeypatch.context() as patched:
        patched.setattr(devices, "gpu_generation", lambda: gpu)
        patched.setattr(devices, "BACKEND", backend)
        wanted = devices.subpixels()
    monkeypatch.setattr(devices, "subpixels", lambda: wanted)
    model, *_ = load_model(tmp_path / "model.keras", exported=exported)
    doubled = model.get_layer("up1_upsample")(np.zeros((1, 3, 5, 4)))
    assert doubled.shape == ((1, 3, 5, 4) if small else (1, 6, 10, 4))


def test_settings_survive_json():
    for config in map(without_colours, PRESETS.values()):
        assert from_json(to_json(config, FOUND)) == (config, FOUND)
    later = to_json(config, FOUND).replace("{", '{"of_a_later_version": 1,', 1)
    assert from_json(later) == (config, FOUND)


def without_colours(config):
    return dataclasses.replace(config, class_names=("background", "cat"), classes=())


def test_settings_of_version_0_1():
    """What was found stood beside what was asked, and class weights were called weights."""
    found = dataclasses.replace(FOUND, class_weights=(0.5, 2.0), policy="mixed_bfloat16")
    old = {**dataclasses.asdict(CONFIG), **dataclasses.asdict(found), "class_weights": "balanced"}
    text = json.dumps({**old, "weights": [0.5, 2.0]})
    assert from_json(text) == (dataclasses.replace(CONFIG, class_weights="balanced"), found)


def test_keras_alone_can_load_it(tmp_path, rng):
    model = saved(tmp_path / "model.keras")
    alone = keras.saving.load_model(tmp_path / "model.keras")
    picture = rng.integers(0, 256, (1, 32, 48, 3), np.uint8)
    np.testing.assert_array_equal(alone.predict_on_batch(picture), model.predict_on_batch(picture))


def test_arguments_that_are_not_used_are_not_written(tmp_path):
    """Older versions of Keras refuse those that they do not know, whatever their value."""
    for norm, up in (("batch", "transpose"), ("group", "nearest")):
        model = UNet((None, None, 3), 2, 2, normalization=norm, upsampling=up)
        save_model(model, tmp_path / "model.keras", CONFIG, FOUND)
        text = zipfile.ZipFile(tmp_path / "model.keras").read("config.json").decode()
        written = set(re.findall(r'"(\w+)":', text))
        newer = "optional input_axes output_axes output_padding renorm renorm_clipping"
        assert not written & {*newer.split(), "renorm_momentum", "seed"}
        again = keras.saving.load_model(tmp_path / "model.keras")
        for one, other in zip(model.layers, again.layers, strict=True):
            assert one.get_config() == other.get_config()


def test_arguments_that_are_used_are_written(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.BatchNormalization(momentum=0.99, scale=False)(inputs)
    outputs = keras.layers.Conv2D(2, 1, use_bias=False)(keras.layers.Rescaling(1, 0)(x))
    save_model(keras.Model(inputs, outputs), tmp_path / "model.keras", CONFIG, FOUND)
    layers = json.loads(zipfile.ZipFile(tmp_path / "model.keras").read("config.json"))
    norm, scaling, convolution = [layer["config"] for layer in layers["config"]["layers"][1:]]
    assert (norm["momentum"], norm["scale"], norm["center"]) == (0.99, False, True)
    assert (scaling["offset"], convolution["use_bias"]) == (0, False)


def test_a_model_that_this_keras_refuses_names_both_versions(tmp_path):
    saved(tmp_path / "model.keras")
    later = tmp_path / "later.keras"
    with zipfile.ZipFile(tmp_path / "model.keras") as old, zipfile.ZipFile(later, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "config.json":
                text = text.replace(b'"filters":', b'"of_a_later_version": 1, "filters":')
            if name == "metadata.json":
                text = b'{"keras_version": "98.7.6"}'
            new.writestr(name, text)
    with pytest.raises(UserError) as refused:
        load_model(later)
    message = str(refused.value)
    assert (
        "later.keras: Keras cannot load this model" in message and "of_a_later_version" in message
    )
    assert "98.7.6" in message and keras.__version__ in message and "\n" not in message


def test_the_newest_run_is_found(tmp_path):
    for name, age in (("old", 5), ("new", 9), ("older", 1)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "best.keras").touch()
        os.utime(folder / "best.keras", (0, age))
    os.chdir(tmp_path)
    assert find_weights().parent.name == "new"
    assert find_weights("runs/old") == find_weights("runs/old/best.keras")


@pytest.mark.parametrize("where", ["runs", "runs/exp/one", "runs/a/b/c/d"])
def test_a_run_is_found_at_any_depth(tmp_path, where):
    os.chdir(tmp_path)
    for folder, age in (("runs/old", 5), (where, 9), ("runs/older/than/that", 1), ("other", 99)):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "best.keras").touch()
        os.utime(Path(folder, "best.keras"), (0, age))
    assert find_weights() == Path(where, "best.keras")
    Path("linked").mkdir()
    os.rename("other/best.keras", "linked/best.keras")
    Path("runs/link").symlink_to("../linked")
    assert find_weights() == Path("runs/link/best.keras")


def test_which_model_is_used_and_why():
    newest = Path("runs/exp/one/best.keras")
    assert reason_for(newest, None) == f"Model: {newest} (the newest run below runs/)."
    assert reason_for(newest, "runs/exp/one") == f"Model: {newest} (named by --weights)."
    assert reason_for(SHIPPED, str(SHIPPED)) == f"Model: {SHIPPED} (named by --weights)."
    assert "no run below runs/, so the model that comes with the project" in reason_for(
        SHIPPED, None
    )


def test_without_a_run_the_shipped_model_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_file, "SHIPPED", tmp_path / "weights" / "voc-animals.keras")
    with pytest.raises(UserError, match="voc-animals.keras: there is no .* Run train.py first"):
        find_weights()
    with pytest.raises(UserError, match="no run below runs/. Run train.py first"):
        find_weights(shipped=False)
    model_file.SHIPPED.parent.mkdir()
    model_file.SHIPPED.touch()
    assert find_weights() == model_file.SHIPPED
    (tmp_path / "runs/own").mkdir(parents=True)
    (tmp_path / "runs/own/best.keras").touch()
    assert find_weights().parent.name == "own"


@pytest.mark.parametrize("path", ["nowhere.keras", "."])
def test_weights_that_are_not_there(path):
    with pytest.raises(UserError, match="there is no such file"):
        find_weights(path)


def test_files_that_are_no_models_of_ours(tmp_path):
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(UserError, match="text.keras: is not a whole .keras file"):
        load_model(tmp_path / "text.keras")

    saved(tmp_path / "model.keras")
    cut = tmp_path / "cut.keras"
    cut.write_bytes((tmp_path / "model.keras").read_bytes()[:-1000])
    with pytest.raises(UserError, match="cut.keras: is not a whole .keras file"):
        load_model(cut)

    UNet((32, 32, 3), 2, 2).save(tmp_path / "foreign.keras")
    with pytest.raises(UserError, match="foreign.keras: does not hold the settings"):
        load_model(tmp_path / "foreign.keras")

    with zipfile.ZipFile(tmp_path / "settings.keras", "w") as archive:
        archive.writestr("unet.json", to_json(CONFIG, FOUND))
    with pytest.raises(UserError, match="settings.keras: Keras cannot load this model"):
        load_model(tmp_path / "settings.keras")


def test_model_and_settings_must_agree(tmp_path):
    saved(
        tmp_path / "model.keras",
        dataclasses.replace(CONFIG, class_names=("a", "b", "c")),
        found=Found(palette=((0, 0, 0),) * 3),
    )
    with pytest.raises(UserError, match="3 channels and 2 classes, its settings 3 and 3"):
        load_model(tmp_path / "model.keras")


def test_a_model_that_asks_for_arbitrary_code_is_refused(tmp_path):
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Lambda(lambda x: x[..., :2])(inputs)
    save_model(keras.Model(inputs, outputs), tmp_path / "code.keras", CONFIG, FOUND)
    with pytest.raises(UserError, match="code.keras: Keras cannot load this model .*Lambda"):
        load_model(tmp_path / "code.keras")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "ab"},
        {"size": (0, 0)},
        {"size": (16, 16, 16)},
        {"size": None},
        {"filters": 0},
        {"channels": 2},
        {"crop": (16.5, 16)},
        {"palette": ()},
        {"palette": ((0, 0, 0), (9, 9, 999))},
        {"class_names": None},
    ],
)
def test_settings_that_no_model_has(tmp_path, wrong):
    config, found = (
        dataclasses.replace(part, **{k: v for k, v in wrong.items() if hasattr(part, k)})
        for part in (CONFIG, FOUND)
    )
    saved(tmp_path / "model.keras", config, found=found)
    with pytest.raises(UserError, match="model.keras: does not hold the settings"):
        read_settings(tmp_path / "model.keras")


def test_a_model_of_other_channels(tmp_path):
    saved(tmp_path / "model.keras", dataclasses.replace(CONFIG, channels=1))
    with pytest.raises(UserError, match="3 channels and 2 classes, its settings 1 and 2"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_models_are_refused_or_whole(tmp_path, seed):
    """Bits flipped in the zip's own tables, where reading goes wrong in the most ways."""
    rng = np.random.default_rng(seed)
    saved(tmp_path / "model.keras")
    data = bytearray((tmp_path / "model.keras").read_bytes())
    for place in rng.integers(len(data) - 400, len(data), 3):
        data[place] ^= 1 << rng.integers(8)
    (tmp_path / "model.keras").write_bytes(data)
    with contextlib.suppress(UserError):
        load_model(tmp_path / "model.keras")
