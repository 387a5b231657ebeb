"""Trainings that start from a trained model: what comes from it, what is new, what is frozen."""

import argparse
import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import write_voc
from PIL import Image
from test_checkpoint import assert_equal

import core.training.fit
import core.training.run_folder
from core.config import PRESETS, Config, Found
from core.imaging.draw import voc_palette
from core.prediction.model_file import SHIPPED, load_model, read_settings, save_model
from core.support.errors import UserError
from core.training import transfer
from core.training.checkpoint import epochs_behind
from core.training.fit import build, train
from core.training.optimizer import stages
from core.VOCdataset import VOCDataset

NAMES = ("background", "a", "b")
PALETTE = tuple(map(tuple, voc_palette()[:4].tolist()))
SOURCE = Config(
    class_names=NAMES,
    size=(48, 32),
    filters=2,
    normalization="batch",
    dropout=0.0,
    upsampling="transpose",
)


def learnt(path, config=SOURCE, found=None):
    """Saves a network whose weights are all drawn at random; returns it."""
    rng = np.random.default_rng(4)
    model = build(config)
    for layer in model.layers:
        layer.set_weights(
            [
                rng.normal(0, np.sqrt(2 / np.prod(w.shape[:-1])), w.shape)
                if w.ndim > 1
                else rng.uniform(0.5, 1, w.shape)
                for w in layer.get_weights()
            ]
        )
    save_model(model, path, config, found or Found(palette=PALETTE[: config.num_classes]))
    return model


@pytest.fixture
def source(tmp_path):
    learnt(tmp_path / "source.keras")
    return tmp_path / "source.keras"


def flags(**given):
    """The flags of train.py of which only these are given."""
    fields = {field.name: None for field in dataclasses.fields(Config)}
    return argparse.Namespace(**fields | {"overwrite": False} | given)


def started(path, given=None, preset="voc", folder=Path("runs/new"), **settings):
    config = dataclasses.replace(PRESETS[preset], init_weights=str(path), **settings)
    config = dataclasses.replace(config, **(given or {}))
    return transfer.with_network(config, flags(init_weights=str(path), **given or {}), folder)


def pixels(rng, channels=3):
    return rng.integers(0, 256, (2, 32, 48, channels), np.uint8)


def test_network_and_canvas_come_from_the_model(source):
    config = started(source, class_names=NAMES)
    for name in ("size", "crop", *transfer.NETWORK):
        assert getattr(config, name) == getattr(SOURCE, name), name
    assert config.lr == PRESETS["voc"].lr / 4
    others = {"size", "crop", "lr", "init_weights", "class_names", *transfer.NETWORK}
    for field in dataclasses.fields(Config):
        if field.name not in others:
            assert getattr(config, field.name) == getattr(PRESETS["voc"], field.name)


def test_flags_override_what_is_not_the_network(source):
    config = started(source, {"size": (64, 64), "lr": 0.5, "filters": 2, "channels": 3})
    assert (config.size, config.lr, config.filters) == ((64, 64), 0.5, 2)
    assert started(source, {"upsampling": "transpose"}).upsampling == "transpose"


def test_what_is_usual_is_no_contradiction(tmp_path):
    learnt(tmp_path / "run.keras", dataclasses.replace(SOURCE, upsampling=None))
    assert started(tmp_path / "run.keras", {"upsampling": "nearest"}).upsampling == "nearest"


def test_the_recipe_of_another_architecture(tmp_path):
    """A network without normalization needs the smaller learning rate of its recipe."""
    reference = dataclasses.replace(SOURCE, architecture="reference", upsampling=None)
    learnt(tmp_path / "run.keras", dataclasses.replace(reference, normalization="none"))
    config = started(tmp_path / "run.keras", preset="folder")
    assert (config.lr, config.filters, config.dropout) == (1e-4 / 4, 2, 0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"filters": 8}, "is a model of filters 2, --filters says 8"),
        ({"architecture": "paper"}, "is a model of architecture same, --architecture says paper"),
        ({"encoder": "vgg16"}, "is a model of encoder none, --encoder says vgg16"),
        ({"channels": 1}, "is a model of channels 3, --channels says 1"),
        ({"encoder_weights": "imagenet"}, "and --encoder-weights exclude each other"),
        ({"encoder_lr_factor": 0.5}, "and --encoder-lr-factor exclude each other"),
        ({"from_scratch": True}, "and --from-scratch exclude each other"),
    ],
)
def test_flags_that_contradict_the_model(source, given, said):
    with pytest.raises(UserError, match=rf"^--init-weights .*{said}"):
        started(source, given)


def test_models_that_cannot_be_started_from(tmp_path, source):
    (tmp_path / "text.keras").write_text("no model")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    for path, said in (
        (tmp_path / "none.keras", "there is no such file.*with --init-weights"),
        (tmp_path, "best.keras: there is no such file.*with --init-weights"),
        (tmp_path / "text.keras", "is not a whole .keras file"),
        (tmp_path / "other.keras", "does not hold the settings of this project's models"),
    ):
        with pytest.raises(UserError, match=said) as told:
            started(path)
        assert "\n" not in str(told.value)
    source.rename(tmp_path / "best.keras")
    with pytest.raises(UserError, match="lies in the folder of the new run.*--output"):
        started(tmp_path, folder=tmp_path)
    with pytest.raises(UserError, match="of 32. For 80 take 64 or 96"):
        started(SHIPPED, {"size": (80, 64)})
    with pytest.raises(UserError, match="^--crop 64 80: .*of 32. For 80 take 64 or 96"):
        started(SHIPPED, {"crop": (64, 80)})


def test_a_foreign_network(tmp_path):
    """Its settings name a U-Net, as those of a model from elsewhere may."""
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="logits")(inputs))
    save_model(model, tmp_path / "x.keras", SOURCE, Found(palette=PALETTE[:3]))
    config = started(tmp_path / "x.keras", class_names=NAMES)
    with pytest.raises(UserError, match="x.keras: its layers are not those of its settings"):
        transfer.load(build(config), config)


@pytest.mark.parametrize("options", [{}, {"encoder": "vgg16"}])
def test_of_the_same_classes_it_says_what_the_model_says(tmp_path, rng, options, small_encoder):
    source = dataclasses.replace(SOURCE, **options)
    model = learnt(tmp_path / "run.keras", source)
    config = started(tmp_path / "run.keras", class_names=NAMES)
    new = build(config)
    transfer.load(new, config)
    images = pixels(rng)
    np.testing.assert_array_equal(new(images, training=False), model(images, training=False))


def test_classes_of_the_same_name_keep_their_weights(source, rng):
    """They have other numbers here; what is new has its own initial weights."""
    config = started(source, class_names=("b", "new", "background"))
    new = build(config)
    before = new.get_layer("logits").get_weights()
    transfer.load(new, config)
    old = keras.saving.load_model(source)
    images = pixels(rng)
    found, wanted = new(images, training=False), old(images, training=False)
    np.testing.assert_allclose(found[..., 0], wanted[..., 2], rtol=1e-5)
    np.testing.assert_allclose(found[..., 2], wanted[..., 0], rtol=1e-5)
    for weight, drawn in zip(new.get_layer("logits").get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight[..., 1], drawn[..., 1])
    for layer in new.layers[:-1]:
        for weight, there in zip(
            layer.get_weights(), old.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(weight, there)
    config = dataclasses.replace(config, class_names=("x", "y"))
    new = build(config)
    before = new.get_layer("logits").get_weights()
    transfer.load(new, config)
    for weight, drawn in zip(new.get_layer("logits").get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, drawn)


def without_the_skip(new):
    """The network of a version before the skip at full resolution; its last level is new."""
    _, x = new.get_layer("up1_concat").input
    for name in ("conv1", "conv2"):
        layer = new.get_layer(f"up1_{name}")
        copy = keras.layers.Conv2D(
            layer.filters, 3, padding="same", use_bias=False, name=layer.name
        )
        x = new.get_layer(f"up1_{name}_relu")(new.get_layer(f"up1_{name}_norm")(copy(x)))
    return keras.Model(new.inputs, new.get_layer("logits")(x), name="unet")


def test_a_model_from_before_the_skip_says_the_same(eagerly, rng, tmp_path):
    """The new skip has no influence, but learns."""
    config, _ = read_settings(SHIPPED)
    old = without_the_skip(build(config))
    assert "up1_concat" not in {layer.name for layer in old.layers}
    path = tmp_path / "old.keras"
    save_model(old, path, config, Found(palette=((0, 0, 0),) * 7))
    model, source, _ = load_model(path)
    config = started(path, {"classes": source.classes})
    new = build(config)
    transfer.load(new, config)
    images = rng.integers(0, 256, (1, 64, 96, 3), np.uint8)
    found = keras.ops.softmax(new(images, training=False))
    np.testing.assert_allclose(found, model(images, training=False), atol=1e-5)
    kernel = new.get_layer("up1_conv1").kernel
    assert not np.any(kernel[:, :, :16]) and np.any(kernel[:, :, 16:])
    assert np.any(new.get_layer("up1_skip_conv1").kernel)


@pytest.mark.parametrize(
    ("epochs", "head"), [(1, 0), (2, 1), (5, 1), (9, 1), (10, 2), (15, 3), (60, 3)]
)
def test_how_long_the_last_layer_learns_alone(epochs, head):
    assert transfer.head_epochs(epochs) == head


@pytest.fixture
def data(voc):
    lists = voc / "ImageSets/Segmentation"
    options = {"batch_size": 2, "target_size": SOURCE.size, "num_classes": 3}
    return [
        VOCDataset(lists / f"{part}.txt", aug=part == "train", **options)
        for part in ("train", "val")
    ]


def test_new_classes_are_said_and_learn_first(source, data, capfd):
    config = started(source, class_names=("background", "a", "new"))
    begun = transfer.begin(config, flags(), *data)
    assert begun == dataclasses.replace(config, freeze_encoder=3)
    assert stages(begun) == [(0, 3, True), (3, 100, False)]
    assert capfd.readouterr().err == (
        f"Starting from {source}. New classes: new; known: background, a. Until the end of "
        "epoch 3 the last layer learns alone, 20 times as fast. The learning rate is 0.00025, a "
        "quarter of the usual.\n"
    )
    assert transfer.begin(config, flags(freeze_encoder=0, lr=0.1), *data) == config
    same = dataclasses.replace(config, class_names=NAMES)
    assert transfer.begin(same, flags(lr=0.1), *data) == same
    assert capfd.readouterr().err.splitlines()[-1] == f"Starting from {source}."


def test_a_grey_model_takes_no_colours(tmp_path, data, voc, call):
    learnt(tmp_path / "grey.keras", dataclasses.replace(SOURCE, channels=1))
    config = started(tmp_path / "grey.keras", class_names=NAMES)
    assert config.channels == 1
    with pytest.raises(UserError, match=r"grey.keras: is a model of grey images, .*--channels 1"):
        transfer.begin(config, flags(), *data)
    assert transfer.begin(config, flags(channels=1), *data) == config
    with pytest.raises(UserError, match="is a model of channels 1, --channels says 3"):
        started(tmp_path / "grey.keras", {"channels": 3})
    args = ("--data", voc, "--init-weights", tmp_path / "grey.keras", "--check-data")
    status, _, err = call("train", *args, "--class-names", "background,a,b")
    assert status == 2 and "grey.keras: is a model of grey images" in err
    for path in (voc / "JPEGImages").glob("*"):  # grey ones, also as they are stored with colours
        Image.open(path).convert("L").convert("RGB").save(path)
    assert transfer.begin(config, flags(), *data) == config


def test_the_range_of_values_is_kept_for_images_of_8_bits(tmp_path, data):
    found = Found(palette=PALETTE[:3], intensity=(100.0, 4000.0))
    learnt(tmp_path / "deep.keras", found=found)
    config = started(tmp_path / "deep.keras", class_names=NAMES)
    before = data[0].read_image(0)
    transfer.begin(config, flags(), *data)
    assert [part.find_intensity() for part in data] == [(100, 4000)] * 2
    np.testing.assert_array_equal(data[0].read_image(0), before)
    data[0].set_intensity((5, 70000))
    transfer.begin(config, flags(), *data)
    assert data[0].find_intensity() == (5, 70000)


def fine_tune(source, data, folder, epochs, history=None):
    config = started(source, {"epochs": epochs}, class_names=("background", "x", "a"))
    config = dataclasses.replace(config, batch_size=2, seed=1, freeze_encoder=2, lr=1e-2)
    found = Found(palette=PALETTE[:3])
    if history is None:
        history = epochs_behind(config, folder)
    return train(config, found, *data, folder, history)


def weights_of(path, *without):
    layers = keras.saving.load_model(path, compile=False).layers
    return {
        layer.name: layer.get_weights()
        for layer in layers
        if layer.weights and layer.name not in without
    }


def test_the_last_layer_learns_alone(source, data, tmp_path):
    """Also the batch statistics stay, to the bit; then everything learns."""
    fine_tune(source, data, tmp_path / "run", 2)
    before, after = (weights_of(p) for p in (source, tmp_path / "run/last.keras"))
    assert before.keys() == after.keys() and len(before) > 20
    for name, weights in before.items():
        for old, new in zip(weights, after[name], strict=True):
            assert np.array_equal(old, new) == (name != "logits"), name


@pytest.mark.slow
def test_it_resumes_in_both_stages_without_the_model(eagerly, source, data, tmp_path, monkeypatch):
    fine_tune(source, data, tmp_path / "whole", 4)
    save = core.training.run_folder.save_checkpoint

    def stop(*args):
        save(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(core.training.run_folder, "save_checkpoint", stop)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            fine_tune(source, data, tmp_path / "parts", 4)
    fine_tune(source, data, tmp_path / "parts", 4)
    assert_equal(tmp_path / "whole", tmp_path / "parts")
    before, after = (weights_of(p) for p in (source, tmp_path / "whole/last.keras"))
    moved = [not np.array_equal(before[name][0], after[name][0]) for name in before]
    assert all(moved)


@pytest.mark.slow
def test_the_same_command_resumes(eagerly, call, voc, source, tmp_path):
    command = ("train", "--dataset", "voc", "--data", voc, "--class-names", "background,a,new")
    command += ("--init-weights", source, "--precision", "float32", "--epochs")
    status, _, err = call(*command, 1)
    assert status == 0 and "New classes: new; known: background, a. The learning rate" in err, err
    kept = json.loads(Path("runs/voc/config.json").read_text())
    assert kept["init_weights"] == str(source) and kept["size"] == [48, 32]
    status, _, err = call(*command, 1)
    assert status == 0 and "the run is finished" in err
    source.rename(tmp_path / "away.keras")
    status, _, err = call(*command, 2)
    assert status == 0 and "Resuming after epoch 1 of 2" in err and "Starting" not in err, err
    status, _, err = call(*command, 3, "--filters", 8)
    assert status == 2 and "is a model of filters 2, --filters says 8" in err
    status, out, err = call(*command, 2, "--overwrite")
    assert (status, out) == (2, "") and err.endswith("with --init-weights.\n")
    assert err.count("\n") == 1
    assert call("evaluate")[0] == call("predict", voc / "JPEGImages/picture0.jpg")[0] == 0


def test_the_summary_is_that_of_the_model(call, source, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    status, out, _ = call("train", "--dataset", "voc", "--init-weights", source, "--summary")
    assert status == 0 and "up1_upconv (Conv2DTranspose)" in out and "for an image of 48x32" in out


def test_a_run_of_an_encoder_without_the_skip_is_not_resumed(eagerly, call, tmp_path, monkeypatch):
    """A version of before has begun it; it says so, and how to start from it."""
    voc = write_voc(tmp_path / "data")
    command = ("train", "--dataset", "voc", "--data", voc, "--class-names", "background,a,b")
    command += ("--size", 32, 32, "--filters", 1, "--encoder", "efficientnet_lite0", "--epochs")
    build_new = core.training.fit.UNet
    with monkeypatch.context() as patched:
        patched.setattr(
            core.training.fit, "UNet", lambda *args, **kw: without_the_skip(build_new(*args, **kw))
        )
        assert call(*command, 1)[0] == 0
    before = Path("runs/voc/last.keras").read_bytes()
    status, out, err = call(*command, 2)
    assert (status, out) == (2, "")
    assert "holds the network of an earlier version" in err.splitlines()[-1]
    assert "--init-weights runs/voc --output FOLDER" in err.splitlines()[-1]
    assert Path("runs/voc/last.keras").read_bytes() == before
    assert call("predict", voc / "JPEGImages/picture0.jpg")[0] == 0


def test_a_model_that_was_adopted_has_no_known_network(tmp_path):
    learnt(tmp_path / "adopted.keras")
    model, config, found = load_model(tmp_path / "adopted.keras")
    config = dataclasses.replace(config, architecture="adopted")
    save_model(model, tmp_path / "adopted.keras", config, found)
    with pytest.raises(UserError, match="adopted.keras: is a model that tools.adopt took over"):
        started(tmp_path / "adopted.keras")
