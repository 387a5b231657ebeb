"""The model without this project: the README's lines as they stand there."""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from core.config import PRESETS, Found
from core.imaging.draw import voc_palette
from core.imaging.image import read_image, read_mask
from core.prediction.model_file import save_model
from core.training.fit import build

README = Path(__file__).parent.parent / "README.md"


OLD = tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13)


@pytest.mark.slow
@pytest.mark.parametrize(
    "exported",
    [
        "mask_of_saved_model",
        pytest.param(
            "mask_of_litert",
            marks=pytest.mark.skipif(OLD, reason=f"Keras {keras.__version__} exports no LiteRT"),
        ),
    ],
)
def test_the_readme_s_use_of_a_model_elsewhere(call, rng, exported):
    blobs = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((128, 128))
    blobs.save("cat.jpg")
    config = dataclasses.replace(PRESETS["sample"], filters=2)
    model = build(config)
    # Untrained, one class would win everywhere: make all as likely on this picture.
    means = model.predict_on_batch(read_image("cat.jpg")[None]).mean(axis=(0, 1, 2))
    model.get_layer("logits").bias.assign(-means)
    save_model(model, "runs/sample/best.keras", config, Found(palette=voc_palette()[:5].tolist()))
    assert call("predict", "cat.jpg")[0] == 0
    wanted = read_mask("predictions/sample/cat_mask.png")
    assert len(np.unique(wanted)) > 1

    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    load, export = (
        next(block for block in blocks if line in block) for line in ("load_model", exported)
    )
    names = {}
    exec(load + export, names)
    for result in ("mask", exported):
        assert (names[result] == wanted).mean() > 0.999, result  # but for equals in float32
