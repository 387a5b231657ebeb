"""The model without this project: tools/export.py, and docs/prediction.md as it stands there."""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from core.config import PRESETS, Found
from core.imaging.draw import voc_palette
from core.imaging.image import read_mask
from core.imaging.intensity import read_image
from core.prediction.model_file import save_model
from core.sources import sample
from core.support.backend import keras_before
from core.training.fit import build
from tools.export import PACKAGES, SUFFIXES, opened

PAGE = Path(__file__).parent.parent / "docs/prediction.md"


@pytest.fixture
def run(rng):
    """A run's folder with an untrained network, and cat.jpg, on which it tells classes apart."""
    blobs = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((128, 128))
    blobs.save("cat.jpg")
    config = dataclasses.replace(PRESETS["sample"], filters=2)
    model = build(config)
    # Untrained, one class would win everywhere: make all as likely on this picture.
    means = model.predict_on_batch(read_image("cat.jpg")[None]).mean(axis=(0, 1, 2))
    model.get_layer("logits").bias.assign(-means)
    save_model(model, "runs/sample/best.keras", config, Found(palette=voc_palette()[:5].tolist()))
    return Path("runs/sample")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["saved_model", "litert"])
def test_the_page_s_use_of_a_model_elsewhere(call, run, kind):
    if kind == "litert":
        if keras_before(3, 13):
            pytest.skip(f"Keras {keras.__version__} exports no LiteRT")
        pytest.importorskip("ai_edge_litert")
    assert call("predict", "cat.jpg", "--precision", "float32")[0] == 0
    wanted = read_mask("predictions/sample/cat_mask.png")
    assert len(np.unique(wanted)) > 1

    text = PAGE.read_text(encoding="utf-8")
    command = re.search(rf"^python -m (tools\.export .*--format {kind})$", text, re.MULTILINE)[1]
    status, out, err = call(*command.split())
    assert status == 0 and "Warning" not in err
    assert re.match(r"Beside Keras, .* 128x128: .* 0 of 16,384 pixels of another class\.\n", out)
    assert out.splitlines()[-1] == f"runs/sample/best{SUFFIXES[kind]}"
    assert {path.name for path in run.iterdir()} == {"best.keras", f"best{SUFFIXES[kind]}"}

    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    wanted_lines = ("load_model", f"mask_of_{kind}")
    load, use = (next(block for block in blocks if line in block) for line in wanted_lines)
    names = {}
    exec(load + use, names)
    for result in ("mask", f"mask_of_{kind}"):
        assert (names[result] == wanted).mean() > 0.999, result  # but for equals in float32


@pytest.mark.slow
def test_onnx_takes_images_of_any_size(call, run):
    for package in PACKAGES["onnx"]:
        pytest.importorskip(package)
    status, out, _ = call("tools.export", run, "--format", "onnx")
    assert status == 0 and " 0 of 16,384 pixels" in out
    logits = opened(run / "best.onnx", "onnx")(np.zeros((2, 32, 48, 3), np.float32))
    assert logits.shape == (2, 32, 48, 5)


@pytest.mark.slow
def test_8_bits(call, run, monkeypatch):
    """Calibrated and scored on the validation part."""
    if keras_before(3, 13):
        pytest.skip(f"Keras {keras.__version__} exports no LiteRT")
    monkeypatch.setattr(sample, "IMAGES", {"train": 6, "val": 3})
    monkeypatch.setattr(sample, "VERSION", "test")
    status, out, _ = call("tools.export", run, "--format", "litert", "--int8", "--size", 64, 64)
    assert status == 0 and (run / "best_int8.tflite").is_file()
    before, after = map(float, re.search(r"on 3 images: (.*) before, (.*) in 8 bits", out).groups())
    assert before == pytest.approx(after, abs=0.05)


def test_packages_that_are_not_there_are_named(call, run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, out, err = call("tools.export", run, "--format", "onnx")
    assert (status, out) == (2, "")
    assert "pip install tf2onnx onnx onnxruntime" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--format", "onnx", "--int8"), "--int8 goes with --format litert"),
        (("--format", "litert", "--data", "."), "--data with --int8"),
        (("--format", "saved_model", "--size", 50, 64), "For 50 take 48 or 64"),
    ],
)
def test_what_cannot_be_exported(call, run, flags, words):
    status, out, err = call("tools.export", run, *flags)
    assert (status, out) == (2, "") and words in err and err.count("\n") == 1
    assert [path.name for path in run.iterdir()] == ["best.keras"]
