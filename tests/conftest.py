"""Fixtures: tiny data sets, and the scripts called in this process."""

import gc
import importlib.util
import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from PIL import Image

from core.config import Config, Found
from core.imaging.draw import voc_palette
from core.prediction.model_file import save_model
from core.support import backend, errors
from core.training import facts, fit
from nets import unet
from nets.sizes import ENCODERS, Encoder

# Two tests run at a time, so each has a core; networks as small as theirs gain nothing from two.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
backend.start()
gc.freeze()  # nothing that is imported is garbage


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Every test works in an empty folder; the sample is drawn once, not in the user's cache."""
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.getbasetemp() / "keras"))


@pytest.fixture(autouse=True)
def compile_quickly(tmp_path_factory, monkeypatch):
    """JAX in processes of their own compiles quickly rather than well, and each program once."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # by all workers
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(shared / "jax"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@pytest.fixture(autouse=True)
def measure_briefly(monkeypatch):
    """A plan measures steps for half a second; in processes of their own, as long as ever."""
    monkeypatch.setattr(facts.measure, "__defaults__", (0.5,))


@pytest.fixture(autouse=True)
def half_as_deep(request, monkeypatch):
    """U-Nets halve the image twice, not four times, except in tests that are marked deep."""
    if not request.node.get_closest_marker("deep"):
        monkeypatch.setattr(unet, "DEPTH", 2)


@pytest.fixture
def eagerly(monkeypatch):
    """Trainings of a few steps go without a graph, whose tracing would take longer than they do."""
    prepare = fit.prepare

    def without_a_graph(model, *args):
        prepare(model, *args)
        model.run_eagerly = True

    monkeypatch.setattr(fit, "prepare", without_a_graph)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_voc(
    root, count=6, size=(40, 48), classes=3, lists="Segmentation", masks="SegmentationClass"
):
    """Writes pictures of noise; their masks are vertical bands of the classes and one of 255."""
    rng = np.random.default_rng(1)
    for folder in ("JPEGImages", masks, f"ImageSets/{lists}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    ids = [f"picture{i}" for i in range(count)]
    for image_id in ids:
        noise = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(noise).save(root / f"JPEGImages/{image_id}.jpg")
        bands = np.r_[np.arange(classes), 255].astype(np.uint8)
        mask = cv2.resize(bands[None], size[::-1], interpolation=cv2.INTER_NEAREST)
        picture = Image.fromarray(mask)
        picture.putpalette(voc_palette().tobytes())
        picture.save(root / masks / f"{image_id}.png")
    for split, part in (("train", ids[2:]), ("val", ids[:2])):
        (root / f"ImageSets/{lists}/{split}.txt").write_text("\n".join(part) + "\n")
    return root


def write_isbi(root, count=5, size=32):
    """Writes slices 8, 9, 10, ... as bright as their number; cells are in the right half."""
    for folder in ("image", "label"):
        (root / folder).mkdir(parents=True)
    label = np.zeros((size, size), np.uint8)
    label[:, size // 2 :] = 255
    for number in range(8, 8 + count):
        Image.fromarray(np.full((size, size), number, np.uint8)).save(root / f"image/{number}.png")
        Image.fromarray(label).save(root / f"label/{number}.png")
    return root


GREYS = (128, 21, 231)  # of classes 0, 1, 2; the padding is 128 and so is background
NAMES = ("background", "a", "b")


def grey_model(greys=GREYS, channels=3):
    """A network of one convolution: the class whose grey is nearest has the highest logit."""
    levels = np.array(greys, np.float32)
    pixels = keras.Input((None, None, channels))
    convolution = keras.layers.Conv2D(len(greys), 1)
    model = keras.Model(pixels, convolution(keras.layers.Rescaling(1 / 255)(pixels)))
    kernel = np.tile(2 * levels * 255 / channels, (1, 1, channels, 1))
    convolution.set_weights([kernel / 100, -np.square(levels) / 100])
    return model


def save_grey_model(path, **settings):
    """Saves it with settings of a canvas of 48x48 and returns them."""
    config = Config(**{"class_names": NAMES, "size": (48, 48), **settings})
    found = Found(palette=((0, 0, 0), (200, 0, 0), (0, 200, 0)))
    save_model(grey_model(channels=config.channels), path, config, found)
    return config


def small_network(weights=None, input_tensor=None, include_top=False):
    """A network with an interface like those of keras.applications, which halves four times."""
    assert not include_top
    x = keras.Input((None, None, 3)) if input_tensor is None else input_tensor
    inputs = keras.utils.get_source_inputs(x)
    for level in range(1, 6):
        x = keras.layers.Conv2D(2, 3, padding="same", name=f"block{level}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{level}_bn")(x)
        x = keras.layers.ReLU(name=f"block{level}")(x)
        if level < 5:
            x = keras.layers.MaxPooling2D(2, name=f"block{level}_pool")(x)
    model = keras.Model(inputs, x)
    if weights:
        print("Downloading data")  # as Keras does, to stdout
        model.load_weights(weights)
    return model


@pytest.fixture
def small_encoder(monkeypatch, tmp_path):
    """Puts a small network in the place of VGG16; returns a file of weights for it."""
    levels = " ".join(f"block{level}" for level in range(1, 6))
    monkeypatch.setattr(keras.applications, "VGG16", small_network)
    small = Encoder("VGG16", levels, scale=1 / 127.5, offset=-1.0, halvings=4)
    monkeypatch.setitem(ENCODERS, "vgg16", small)
    keras.utils.set_random_seed(5)
    path = tmp_path / "small.weights.h5"
    small_network().save_weights(path)
    return path


def without_the_model(result):
    """The status, stdout and stderr of a script without the line that names model.keras."""
    status, out, err = result
    return status, out, err.removeprefix("Model: model.keras (named by --weights).\n")


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc")


@pytest.fixture
def isbi(tmp_path):
    return write_isbi(tmp_path / "isbi")


@pytest.fixture
def call(monkeypatch, capfd):
    """Returns a function that runs a script and returns its exit status, stdout and stderr."""

    def run(script, *args):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, args)])
        monkeypatch.setattr(errors, "leave", sys.exit)  # this process is to go on
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            errors.run(importlib.import_module(script).main)
        out, err = capfd.readouterr()
        return left.value.code or 0, out, err

    return run


on_another_backend = pytest.mark.skipif(
    keras.backend.backend() == "jax" or not importlib.util.find_spec("jax"),
    reason="is for where JAX is installed, and not the backend already",
)


def run_on_jax(*files):
    """Runs all tests of some files with JAX as Keras' backend."""
    command = [sys.executable, "-m", "pytest", "-q", *files]
    done = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
