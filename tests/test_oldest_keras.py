"""The oldest Keras that requirements.txt allows, beside TensorFlow and the rest as installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import shallow

from core.config import Config, Found
from core.prediction.model_file import SHIPPED, load_model, save_model
from nets.sizes import ENCODERS
from nets.unet import UNet
from tools.adopt import adopt

pytestmark = pytest.mark.deep

ROOT = Path(__file__).parent.parent
OLDEST = re.search(r"^keras>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]

# What load_model makes of files, as the class probabilities of one image each.
ANSWER = """
import sys
import numpy as np
from core.support import backend
backend.start()
import keras
from core.prediction.model_file import load_model
images, *paths = sys.argv[1:]
images = np.load(images)
answers = {path: load_model(path)[0](images[path], training=False) for path in paths}
np.savez("answers.npz", **answers, version=keras.__version__)
"""


@pytest.fixture(scope="module")
def oldest(tmp_path_factory):
    """Runs Python on the oldest Keras; it is installed alone into a folder of its own."""
    folder = tmp_path_factory.mktemp("keras")
    install = f"-m pip install --quiet --retries 2 --timeout 30 --no-deps keras=={OLDEST} --target"
    command = [sys.executable, *install.split(), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"Keras {OLDEST} cannot be installed: {(done.stderr.splitlines() or [''])[-1]}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)

    def run(*args):
        path = os.pathsep.join((str(folder), str(ROOT)))
        environment = {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"}
        command = [sys.executable, *map(str, args)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def networks():
    """All kinds of networks of this project, by name."""
    padded = [(n, u) for n in ("none", "batch", "group") for u in ("nearest", "transpose")]
    kinds = {f"same-{n}-{u}": {"normalization": n, "upsampling": u} for n, u in padded}
    for norm in ("none", "batch", "group"):
        kinds[f"paper-{norm}"] = {"architecture": "paper", "normalization": norm}
    encoders = ENCODERS.keys() - {"efficientnet_lite2"}  # which has the layers of Lite0
    kinds |= {encoder: {"encoder": encoder} for encoder in sorted(encoders)}
    return kinds | {"grey": {"encoder": "vgg16", "channels": 1}}


@pytest.mark.slow
def test_all_kinds_of_networks_have_the_same_masks(oldest, rng):
    keras.utils.set_random_seed(0)
    images, wanted = {}, {}

    def ask(path, model, channels, side=64):
        images[path] = rng.integers(0, 256, (1, side, side, channels), np.uint8)
        wanted[path] = np.asarray(model(images[path], training=False))

    for name, options in networks().items():
        channels = options.pop("channels", 3)
        model = UNet((None, None, channels), 3, 2, **options)
        config = Config(class_names=("a", "b", "c"), channels=channels, size=(64, 64))
        save_model(model, f"{name}.keras", config, Found(palette=((0, 0, 0),) * 3))
        probabilities = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
        ask(f"{name}.keras", probabilities, channels, 220 if "paper" in name else 64)
    for name, channels in (("voc-animals", 3), ("vessels", 3), ("isbi", 1)):
        path = SHIPPED.with_name(f"{name}.keras")
        ask(str(path), load_model(path)[0], channels)
    inputs = keras.Input((None, None, 3))  # whose probabilities become logits
    keras.Model(
        inputs, keras.layers.Conv2D(3, 3, padding="same", activation="softmax")(inputs)
    ).save("mine.keras")
    adopt(Path("mine.keras"), "adopted.keras", ("a", "b", "c"), (64, 64))
    ask("adopted.keras", load_model("adopted.keras")[0], 3)
    np.savez("images.npz", **images)
    oldest("-c", ANSWER, "images.npz", *images)
    with np.load("answers.npz") as answers:
        assert answers["version"] == OLDEST
        for path, here in wanted.items():
            np.testing.assert_allclose(answers[path], here, atol=1e-5, err_msg=path)
            assert (answers[path].argmax(-1) == here.argmax(-1)).all(), path


@pytest.mark.slow
def test_the_scripts_work(oldest):
    """Training, resuming, prediction and the report; then the newest Keras takes its model."""
    tiny = ("--filters", 2, "--size", 32, 32, "--batch-size", 16, "--normalization", "batch")
    oldest(shallow.__file__, "train.py", *tiny, "--epochs", 1)
    oldest(shallow.__file__, "train.py", *tiny, "--epochs", 2)
    assert "background" in oldest(ROOT / "predict.py")
    assert "Total MIOU" in oldest(ROOT / "evaluate.py")
    load_model("runs/sample/best.keras")
