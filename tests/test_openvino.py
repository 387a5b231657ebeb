"""OpenVINO as Keras' backend: it predicts and scores what TensorFlow does, and trains nothing."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import NAMES, write_voc
from PIL import Image

from core.config import Config, Found
from core.imaging.image import read_mask
from core.prediction.model_file import save_model
from core.support.backend import keras_before
from nets.unet import UNet

pytestmark = pytest.mark.deep

ROOT = Path(__file__).parent.parent
needs_openvino = pytest.mark.skipif(
    keras_before(3, 13) or not importlib.util.find_spec("openvino"),
    reason="needs OpenVINO and Keras 3.13",
)


def on_openvino(script, *args):
    """Runs a script in a process of its own."""
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, args)],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def model(tmp_path, rng):
    """The flags that name a network, untrained, for the data set of `write_voc`."""
    data = write_voc(tmp_path / "voc")
    keras.utils.set_random_seed(1)
    network = UNet((None, None, 3), 3, 4, normalization="batch")
    network.get_layer("logits").bias.assign(rng.normal(0, 0.1, 3))
    config = Config(class_names=NAMES, size=(48, 48), data=str(data), filters=4)
    save_model(network, "model.keras", config, Found(palette=((0, 0, 0),) * 3))
    return "--weights", "model.keras"


@needs_openvino
@pytest.mark.parametrize(
    ("tile", "precision", "equal"), [("--tile", "float32", 0.999), ("--no-tile", "bfloat16", 0.97)]
)
def test_masks_are_those_of_tensorflow(call, rng, model, tile, precision, equal):
    image = rng.integers(0, 256, (10, 12, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    Image.fromarray(image).save("image.png")
    args = (*model, "image.png", tile)
    assert call("predict", *args, "--precision", "float32", "--output", "wanted")[0] == 0
    done = on_openvino("predict.py", *args, "--precision", precision, "--output", "found")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f" by model.keras, in {precision}.\n")
    wanted, found = (read_mask(f"{folder}/image_mask.png") for folder in ("wanted", "found"))
    assert len(np.unique(wanted)) > 1
    assert (found == wanted).mean() > equal


@needs_openvino
def test_channels_are_not_moved_around_each_convolution(model, tmp_path):
    code = """
        import collections, sys
        import numpy as np
        from core.support import backend
        backend.start()
        from core.prediction.model_file import load_model
        network, *_ = load_model(sys.argv[1], policy="float32")
        network.predict_on_batch(np.zeros((1, 32, 32, 3), np.uint8))
        graph = network.ov_compiled_model.get_runtime_model().get_ops()
        kinds = collections.Counter(str(node.get_rt_info()["layerType"].value) for node in graph)
        print(kinds["Convolution"], kinds["Transpose"])
    """
    path = tmp_path / "count.py"
    path.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, path, model[1]],
        env={**os.environ, "KERAS_BACKEND": "openvino", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    convolutions, moves = map(int, done.stdout.split())
    assert convolutions == 23  # two on each of five levels, three on each of four ways up, and one
    assert moves <= 2  # to the first convolution, and back from the last


@needs_openvino
def test_the_report_is_that_of_tensorflow(call, model):
    args = ("evaluate.py", *model, "--precision", "float32", "--output")
    assert call("evaluate", *args[1:], "wanted")[0] == 0
    done = on_openvino(*args, "found")
    assert done.returncode == 0, done.stderr
    wanted, found = (
        json.loads(Path(folder, "metrics.json").read_text()) for folder in ("wanted", "found")
    )
    assert found["versions"]["backend"].startswith("openvino ")
    assert found["precision"] == "float32"
    assert found["miou"] == pytest.approx(wanted["miou"], abs=1e-3)


def test_it_trains_nothing(call, monkeypatch, voc):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    status, out, err = call("train", "--data", voc)
    assert (status, out) == (2, "") and err.splitlines()[-1].startswith(
        "train.py: The backend openvino only predicts. Train with tensorflow or jax"
    )


def test_an_older_keras_lacks_it(call, monkeypatch, model):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    monkeypatch.setattr(keras, "__version__", "3.12.1")
    status, out, err = call("evaluate", *model)
    assert (status, out) == (2, "") and "openvino needs Keras 3.13 or later" in err
