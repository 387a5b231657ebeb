"""Models of other people: from a notebook to predict.py and evaluate.py."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from core.prediction.model_file import load_model, read_settings
from core.training.losses import SegmentationLoss

SIZE = (32, 48)


def notebook(
    path, channels=3, classes=3, activation="softmax", side=(None, None), sequential=False
):
    """Saves a small network as a notebook would, compiled with a loss of this project."""
    parts = [
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(),
        layers.UpSampling2D(2),
        layers.Conv2D(classes, 1, activation=activation),
    ]
    inputs = keras.Input((*side, channels))
    if sequential:
        model = keras.Sequential([inputs, *parts])
    else:
        x = inputs
        for part in parts:
            x = part(x)
        model = keras.Model(inputs, x)
    model.layers[-1].kernel.assign(model.layers[-1].kernel / 100)  # so that nothing saturates
    model.compile("adam", SegmentationLoss("dice"))
    model.save(path)
    return model


def adopt(call, *args, names="background,a,b", size=SIZE):
    return call(
        "tools.adopt", "mine.keras", "adopted.keras", "--class-names", names, "--size", *size, *args
    )


def images(rng, channels=3):
    return rng.integers(0, 256, (2, *SIZE, channels), np.uint8)


@pytest.mark.parametrize("classes", [1, 2])
def test_layers_with_the_names_that_keras_gives(call, rng, classes):
    """A new program names layers from the start, as the one that made the model did."""
    keras.backend.clear_session()
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 16)(inputs)
    x = layers.Concatenate()([x, layers.Conv2D(2, 3, padding="same")(x)])
    x = layers.Conv2D(classes, 1)(x)
    x = layers.Softmax()(x) if classes > 1 else layers.Activation("sigmoid")(x)
    model = keras.Model(inputs, x)
    model.save("mine.keras")
    pixels = images(rng)
    wanted = model(pixels / 255.0).numpy()[..., -1]
    keras.backend.clear_session()
    status, _, err = adopt(call, "--divide-by", 255, names="background,a")
    assert status == 0, err
    keras.backend.clear_session()
    found = load_model("adopted.keras")[0](pixels)[..., 1]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_same_probabilities(call, rng, activation, sequential):
    model = notebook("mine.keras", 1, activation=activation, sequential=sequential)
    status, out, err = adopt(call)
    assert status == 0, err
    assert f"a {'probability' if activation else 'logit'} of 3 classes" in out
    pixels = images(rng, 1)
    wanted = model.predict_on_batch(pixels)
    if not activation:
        wanted = np.exp(wanted) / np.exp(wanted).sum(-1, keepdims=True)
    adopted, config, _ = load_model("adopted.keras")
    np.testing.assert_allclose(adopted.predict_on_batch(pixels), wanted, atol=1e-5)
    assert (config.names, config.size, config.channels) == (("background", "a", "b"), SIZE, 1)
    assert keras.saving.load_model("adopted.keras").output_shape[-1] == 3  # by Keras alone


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_single_channel_for_two_classes(call, rng, activation):
    model = notebook("mine.keras", classes=1, activation=activation)
    assert adopt(call, names="background,a")[0] == 0
    pixels = images(rng)
    p = model.predict_on_batch(pixels)
    p = p if activation else 1 / (1 + np.exp(-p))
    answer = load_model("adopted.keras")[0].predict_on_batch(pixels)
    np.testing.assert_allclose(answer, np.concatenate([1 - p, p], -1), atol=1e-5)


def test_images_of_another_range(call, rng):
    model = notebook("mine.keras", sequential=True)
    assert adopt(call, "--divide-by", 255)[0] == 0
    pixels = images(rng)
    answer = load_model("adopted.keras", tile=True)[0].predict_on_batch(pixels)
    np.testing.assert_allclose(answer, model.predict_on_batch(pixels / 255), atol=1e-5)


def test_probabilities_of_0_and_1(call):
    model = notebook("mine.keras")
    model.layers[-1].bias.assign([1e4, 0, 0])
    model.save("mine.keras")
    assert adopt(call)[0] == 0
    answer = load_model("adopted.keras")[0].predict_on_batch(np.zeros((1, *SIZE, 3)))
    np.testing.assert_allclose(answer[0, 0, 0], [1, 0, 0], atol=1e-6)


def write_data(rng):
    for folder in ("images", "masks"):
        Path("data", folder).mkdir(parents=True)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (40, 70, 3), np.uint8)).save(f"data/images/{name}.jpg")
        mask = rng.integers(0, 2, (40, 70), np.uint8) * 255  # black and white
        Image.fromarray(mask).save(f"data/masks/{name}.png")


def test_the_scripts_take_it(call, rng):
    write_data(rng)
    notebook("mine.keras", classes=2)
    assert adopt(call, names="background,a")[0] == 0
    for tile in ("--tile", "--no-tile"):
        given = "--weights", "adopted.keras", tile
        status, _, err = call("predict", *given, "--output", tile[2:], "data/images")
        assert status == 0, err
        assert Image.open(f"{tile[2:]}/a_mask.png").size == (70, 40)
        status, out, err = call("evaluate", *given, "--dataset", "folder", "--data", "data")
        assert status == 0 and "3 images (folder, all), adopted.keras" in out, err


def test_tiles_that_it_cannot_take(call, rng):
    write_data(rng)
    scripts = ("predict", "data/images"), ("evaluate", "--dataset", "folder", "--data", "data")
    notebook("mine.keras", classes=2, side=SIZE)
    assert adopt(call, names="background,a")[0] == 0
    for script, *args in scripts:
        status, out, err = call(script, *args, "--weights", "adopted.keras", "--tile")
        assert (status, out) == (2, "") and "images of 32x48 only). Add --no-tile" in err
        assert call(script, *args, "--weights", "adopted.keras")[0] == 0
    inputs = keras.Input((None, None, 3))
    x = layers.AveragePooling2D(2)(inputs)
    x = layers.Conv2DTranspose(2, 3, 2, padding="same")(x)
    keras.Model(inputs, x).save("mine.keras")
    assert adopt(call, names="background,a")[0] == 0
    status, _, err = call("predict", "data/images", "--weights", "adopted.keras", "--tile")
    assert status == 2 and "the reach of a" in err and "Add --no-tile" in err


def refused(call, *message, **options):
    Path("adopted.keras").unlink(missing_ok=True)
    status, out, err = adopt(call, **options)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert all(part in err for part in message), err
    assert not Path("adopted.keras").exists()


def test_models_that_are_no_use(call):
    refused(call, "there is no such file")
    Path("mine.keras").write_bytes(b"no model")
    refused(call, "Keras alone cannot load this model")
    notebook("mine.keras")
    refused(call, "(32, 48, 3)", "each of the 2", names="background,a")
    refused(call, "at least two classes", names="a")
    notebook("mine.keras", side=(64, 64))
    refused(call, "(64, 64). Give these with --size")
    notebook("mine.keras", activation="sigmoid")
    refused(call, "do not add up to 1")
    notebook("mine.keras", channels=4)
    refused(call, "must be images, [B, H, W, 1 or 3]")
    model = notebook("mine.keras")
    model.layers[-1].bias.assign([np.nan, 0, 0])
    model.save("mine.keras")
    refused(call, "not finite")
    inputs = keras.Input((None, None, 3))
    x = layers.Lambda(lambda x: x * 2)(inputs)
    keras.Model(inputs, x).save("mine.keras")
    refused(call, "without Lambda")


def test_a_size_that_does_not_go_through(call):
    inputs = keras.Input((None, None, 3))
    x = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(inputs))
    keras.Model(inputs, layers.Concatenate()([inputs, x])).save("mine.keras")
    refused(call, "does not run on images of 33x48, try another --size", size=(33, 48))


@pytest.mark.deep
@pytest.mark.slow
def test_the_readme_s_notebook_as_it_stands(call, rng):
    """The block, then the command below it, and predict.py."""
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    section = text.split("## In a notebook")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    command = re.search(r"`python -m\s+(tools.adopt [^`]*)`", section)[1].split()
    for folder in ("images", "masks"):
        Path("my_data", folder).mkdir(parents=True)
    for name in "abc":
        image = rng.integers(0, 256, (40, 70, 3), np.uint8)
        Image.fromarray(image).save(f"my_data/images/{name}.jpg")
        Image.fromarray(image[..., 0] // 128).save(f"my_data/masks/{name}.png")
    names = {}
    exec(code, names)
    history = names["model"].history.history
    assert {"loss", "miou", "val_loss", "val_miou"} <= history.keys()
    assert history["loss"][-1] < history["loss"][0]
    again = keras.saving.load_model("notebook.keras")
    scored = again.evaluate(names["validation"], verbose=0, return_dict=True)
    assert scored["miou"] == pytest.approx(history["val_miou"][-1], abs=0.01)
    assert call(*command)[0] == 0
    assert call("predict", "--weights", "leaf.keras", "--tile", "my_data/images")[0] == 0


def test_what_is_there(call):
    """As tools.ship: a model is replaced, but never the source."""
    notebook("mine.keras")
    assert adopt(call)[0] == adopt(call)[0] == 0
    before = Path("mine.keras").read_bytes()
    status, _, err = call(
        "tools.adopt", "mine.keras", "mine.keras", "--class-names", "x,a,b", "--size", 32, 48
    )
    assert status == 2 and "Name another file" in err
    assert Path("mine.keras").read_bytes() == before
    assert read_settings("adopted.keras")[0].architecture == "adopted"
