import dataclasses

import keras
import pytest

from core.config import PRESETS
from core.training.fit import build, prepare
from nets.summary import at_size, operations, summary
from nets.unet import UNet

pytestmark = pytest.mark.deep


def test_operations_of_the_plain_network_by_hand():
    """By level: places, and pairs of input and output features of its 3x3 convolutions."""
    places = [64 * 32, 32 * 16, 16 * 8, 8 * 4, 4 * 2]
    features = [4, 8, 16, 32, 64]
    weights = 9 * (3 * 4 + 4 * 4) * places[0]
    for level in range(1, 5):
        above, here = features[level - 1 : level + 1]
        weights += 9 * (above * here + here * here) * places[level]
        # Up again: the 2x2 convolution, and two on twice the features.
        weights += 4 * here * above * places[level - 1]
        weights += 9 * (2 * above * above + above * above) * places[level - 1]
    weights += 4 * 5 * places[0]
    model = UNet((64, 32, 3), 5, 4)
    assert operations(model) == 2 * weights
    assert operations(at_size(UNet((None, None, 3), 5, 4), (64, 32))) == 2 * weights


def test_a_copy_of_a_network_that_is_ready_to_train():
    """Its optimizer is this project's, which Keras could not make anew."""
    config = dataclasses.replace(PRESETS["sample"], filters=2)
    model = build(config)
    prepare(model, config, steps=10)
    copy = at_size(model, (32, 48))
    assert copy.output_shape == (None, 32, 48, 5) and not copy.compiled and model.compiled


def test_operations_of_other_convolutions():
    inputs = keras.Input((8, 6, 3))
    depthwise = keras.layers.DepthwiseConv2D(5, strides=2, padding="same")(inputs)
    assert operations(keras.Model(inputs, depthwise)) == 2 * 25 * 3 * (4 * 3)
    # Each of the 16 x 12 output pixels is made of one input pixel's 3 features.
    doubled = keras.layers.Conv2DTranspose(7, 2, strides=2)(inputs)
    assert operations(keras.Model(inputs, doubled)) == 2 * 3 * 7 * (16 * 12)


@pytest.mark.parametrize(
    ("options", "radius", "size"),
    [({}, 110, "64x96"), ({"architecture": "paper"}, 94, "252x284")],
)
def test_the_text(monkeypatch, options, radius, size):
    monkeypatch.setenv("COLUMNS", "120")
    model = UNet((None, None, 1), 2, 2, **options)
    text = summary(model, (64, 96))
    assert f"Total params: {model.count_params():,}" in text
    assert f"Receptive radius: {radius} pixels, around blocks of 16" in text
    assert f"for an image of {size}" in text
    shape = tuple(map(int, size.split("x")))
    assert f"{operations(at_size(model, shape)) / 1e9:.2f} billion" in text
    assert f"(None, {shape[0]}, {shape[1]}, 1)" in text and "down1_conv1 (Conv2D)" in text


def test_a_network_with_an_encoder(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    model = UNet((None, None, 3), 2, 2, encoder="efficientnet_lite0")
    table = [line for line in summary(model, (64, 64)).splitlines() if line.startswith("│")]
    assert {(len(line), line[-1]) for line in table} == {(76, "│")}  # nothing is cut off
    assert f"Total params: {model.count_params():,}" in summary(model, (64, 64))
