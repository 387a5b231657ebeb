"""Images through a model, in memory."""

import dataclasses

import numpy as np
import pytest

from core.config import Config, Found
from core.imaging.letterbox import letterbox
from core.prediction.model_file import load_model, save_model
from core.prediction.predict import predict
from nets.reach import Geometry
from nets.unet import UNet

CONFIG = Config(class_names=("background", "cat"), size=(32, 48))
FOUND = Found(palette=((0, 0, 0), (9, 9, 9)))


def saved(path, config=CONFIG, num_classes=2):
    model = UNet((None, None, 3), num_classes, 2)
    save_model(model, path, config, FOUND)
    return model


def test_probabilities_are_the_softmax_of_the_logits(tmp_path, rng):
    logits = saved(tmp_path / "model.keras")
    model, config, _ = load_model(tmp_path / "model.keras")
    images = [rng.integers(0, 256, (height, 50, 3), np.uint8) for height in (20, 32, 48, 60, 70)]
    found = list(predict(model, iter(images), config, batch_size=2))
    assert len(found) == 5
    for image, answer in zip(images, found, strict=True):
        wanted = np.exp(logits.predict_on_batch(letterbox(image, config.size)[None])[0])
        wanted /= wanted.sum(-1, keepdims=True)
        np.testing.assert_allclose(answer.scores, wanted, atol=1e-5)
        own = answer.probabilities()
        assert own.shape == (*image.shape[:2], 2)
        np.testing.assert_array_equal(answer.class_map(), own.argmax(-1))


def test_every_batch_has_one_shape():
    shapes = []

    class Stub:
        layers = ()

        def predict_on_batch(self, batch):
            shapes.append(batch.shape)
            return batch[..., :1] * np.ones(2, np.float32)

    images = [np.full((16, 16, 3), i, np.uint8) for i in range(5)]
    config = dataclasses.replace(CONFIG, size=(16, 16))
    found = list(predict(Stub(), images, config, batch_size=4))
    assert [int(answer.scores[0, 0, 0]) for answer in found] == [0, 1, 2, 3, 4]
    assert shapes == [(4, 16, 16, 3)] * 2


class Upper:
    """A network that is certain of class 1 in the upper half of what it is given, and else of 0."""

    layers = ()

    def predict_on_batch(self, batch):
        scores = np.zeros((*batch.shape[:3], 2), np.float32)
        half = batch.shape[1] // 2
        scores[:, :half, :, 1] = scores[:, half:, :, 0] = 1
        return scores


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
def test_averaging_by_hand(rng, monkeypatch, tile, size):
    """Half of the views are upside down, so that class 1 has a half of the votes everywhere; in a
    square a quarter of the views has it above, below, left and right: again a half."""
    monkeypatch.setattr("core.prediction.predict.geometry", lambda model: Geometry(16, 0))
    config = dataclasses.replace(CONFIG, dataset="isbi", size=size)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    options = {"tile": tile, "keep": np.float32}
    (plain,) = predict(Upper(), [image], config, **options)
    np.testing.assert_array_equal(plain.class_map()[:, 0], np.repeat([1, 0], 16))
    (mean,) = predict(Upper(), [image], config, tta=True, **options)
    np.testing.assert_array_equal(mean.probabilities(), np.full((*size, 2), 0.5))


@pytest.mark.parametrize(
    ("dataset", "ways"), [("isbi", (1, -1)), ("sample", (1, -1)), ("voc", (1,)), ("folder", (1,))]
)
def test_averaging_is_the_mean_of_the_views_and_deterministic(tmp_path, rng, dataset, ways):
    """Photographs are looked at one way up only: a network has never seen them upside down."""
    saved(tmp_path / "model.keras")
    model, config, _ = load_model(tmp_path / "model.keras")
    config = dataclasses.replace(config, dataset=dataset)
    image = rng.integers(0, 256, (32, 48, 3), np.uint8)
    views = [
        model.predict_on_batch(np.ascontiguousarray(image[None, ::y, ::x]))[0, ::y, ::x]
        for y in ways
        for x in (1, -1)
    ]
    for _ in range(2):
        (answer,) = predict(model, [image], config, tta=True)
        np.testing.assert_allclose(answer.scores, np.mean(views, axis=0), atol=1e-6)


@pytest.mark.parametrize("best", [False, True])
def test_how_certain_the_network_is(rng, monkeypatch, best):
    """The mean of the highest probability, and the share of pixels where it is below 0.6."""

    class Random:
        layers = ()

        def predict_on_batch(self, batch):
            scores = batch[..., :1] / 255 * [0.3, -0.1, -0.2] + [0.5, 0.3, 0.2]
            return scores.astype(np.float32)

    monkeypatch.setattr("core.prediction.predict.geometry", lambda model: Geometry(16, 8))
    config = Config(class_names=("background", "a", "b"), size=(48, 80), filters=2**14)
    image = 2 * rng.integers(0, 128, (48, 80, 3), np.uint8)  # so that none is just 0.6
    wanted = 0.5 + 0.3 * image[..., 0] / 255
    for tile in (True, False):
        (answer,) = predict(Random(), [image], config, tile=tile, best=best)
        mask, highest, (mean, unsure) = answer.decided()
        assert mask.shape == (48, 80) and not mask.any()
        assert mean == pytest.approx(wanted.mean(), abs=1e-6)
        assert unsure == pytest.approx((wanted < 0.6).mean(), abs=1e-9) and 0.2 < unsure < 0.5
        if best:
            np.testing.assert_allclose(highest, wanted, atol=3e-4)
            assert highest.dtype == (np.float16 if tile else np.float32)
        else:
            assert highest is None
