import argparse

import keras
import numpy as np
import pytest
from keras import ops

from core.config import LOSSES, loss_terms
from core.support.flags import parse_loss
from core.training import losses
from core.training.figures import DataLoss, MeanIoU
from core.training.losses import SegmentationLoss

# An image of four pixels: classes 0, 1, 0 and an unknown one; class 2 does not occur.
TRUTH = np.array([[[0, 1], [0, 255]]], np.uint8)
SHARES = np.array([[4, 2, 2], [2, 4, 2], [1, 5, 2], [1, 1, 6]], np.float32).reshape(1, 2, 2, 3) / 8
PIXEL_WEIGHTS = np.array([[[1, 2], [3, 0]]], np.float32)
LOG_2 = 0.693147


def value(text, truth, logits, weights=None):
    return float(SegmentationLoss(text)(truth, logits, weights))


def gradient(text, truth, logits):
    """By the logits."""
    loss = SegmentationLoss(text)
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda logits: loss(truth, logits))(logits))
    import tensorflow as tf

    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        answer = loss(truth, logits)
    return tape.gradient(answer, logits).numpy()


@pytest.fixture
def batch(rng):
    """Two images with 255 and five classes, which all occur."""
    truth = rng.integers(0, 5, (2, 6, 7)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 255
    logits = rng.normal(0, 2, (2, 6, 7, 5)).astype(np.float32)
    return truth, logits, rng.uniform(0, 3, truth.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # p of the true classes: 1/2, 1/2, 1/8, so -log p: log 2 times 1, 1, 3.
        ("crossentropy", 5 / 3 * LOG_2),
        # (1 - p)^2: 1/4, 1/4, 49/64; so (1/4 + 1/4 + 3 * 49/64) / 3.
        ("focal", 179 / 192 * LOG_2),
        # I, A, B of class 0: 5/8, 2, 7/8; of class 1: 1/2, 1, 11/8.
        # 2I / (A + B): 10/23 and 8/19.
        ("dice", 250 / 437),
        # I / (A + B - I): 5/18 and 4/15.
        ("iou", 131 / 180),
        ("crossentropy+dice", 5 / 3 * LOG_2 + 250 / 437),
    ],
)
def test_by_hand(text, wanted):
    assert value(text, TRUTH, np.log(SHARES)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # (1 * 1 + 2 * 1 + 3 * 3) / 3; still divided by the number of known pixels.
        ("crossentropy", 4 * LOG_2),
        # (1 * 1/4 + 2 * 1/4 + 3 * 3 * 49/64) / 3.
        ("focal", 163 / 64 * LOG_2),
        ("dice", 250 / 437),
        ("iou", 131 / 180),
    ],
)
def test_pixel_weights_by_hand(text, wanted):
    assert value(text, TRUTH, np.log(SHARES), PIXEL_WEIGHTS) == pytest.approx(wanted, rel=1e-5)


def test_crossentropy_is_keras_own(batch):
    truth, logits, weights = batch
    judge = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    for given in (None, weights):
        wanted = float(judge(truth, logits, given))
        assert value("crossentropy", truth, logits, given) == pytest.approx(wanted, rel=1e-5)


def test_focal_is_keras_own(batch):
    truth, logits, weights = batch
    known = truth != 255
    judge = keras.losses.CategoricalFocalCrossentropy(
        alpha=1, gamma=2, from_logits=True, reduction=None
    )
    pixels = ops.convert_to_numpy(judge(np.eye(5)[truth[known]], logits[known]))
    assert value("focal", truth, logits) == pytest.approx(pixels.mean(), rel=1e-5)
    wanted = (weights[known] * pixels).mean()
    assert value("focal", truth, logits, weights) == pytest.approx(wanted, rel=1e-5)


def test_dice_is_keras_own(batch):
    truth, logits, _ = batch
    known = truth != 255
    shares = ops.softmax(logits[known])
    judge = keras.losses.Dice(axis=0, reduction=None)
    wanted = ops.convert_to_numpy(judge(np.eye(5)[truth[known]], shares)).mean()
    assert value("dice", truth, logits) == pytest.approx(wanted, rel=1e-5)


def test_iou_of_certain_predictions_is_keras_metric(batch):
    truth, logits, _ = batch
    judge = keras.metrics.MeanIoU(5, ignore_class=255, sparse_y_pred=False)
    judge.update_state(truth, logits)
    wanted = 1 - float(judge.result())
    certain = 100 * np.eye(5, dtype=np.float32)[logits.argmax(-1)]
    assert value("iou", truth, certain) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("text", LOSSES)
def test_255_is_not_looked_at(text, batch):
    truth, logits, weights = batch
    unknown = truth == 255
    before = value(text, truth, logits, weights)
    assert not gradient(text, truth, logits)[unknown].any()
    assert gradient(text, truth, logits)[~unknown].all()
    for odd in (1e4, np.inf, np.nan):
        logits[unknown, 1] = odd
        weights[unknown] = 7
        assert value(text, truth, logits, weights) == before
        assert not gradient(text, truth, logits)[unknown].any()


@pytest.mark.parametrize("text", LOSSES)
def test_where_nothing_is_known_it_is_0(text, batch):
    truth, logits, weights = batch
    truth[:] = 255
    assert value(text, truth, logits, weights) == 0
    assert not gradient(text, truth, logits).any()


@pytest.mark.parametrize("text", LOSSES)
def test_large_logits_are_no_trouble(text, batch):
    truth, logits, _ = batch
    right = np.eye(5, dtype=np.float32)[np.where(truth == 255, 0, truth)]
    worst = 2e4 + np.log(4) if text in ("crossentropy", "focal") else 1  # four classes share p
    for sign, wanted in ((1, 0), (-1, worst)):
        extreme = sign * 1e4 * (2 * right - 1)
        assert value(text, truth, extreme) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        assert np.isfinite(gradient(text, truth, extreme)).all()


@pytest.mark.parametrize(("text", "wanted"), [("dice", 0.5 + 1 / 398), ("iou", 0.505)])
def test_the_background_does_not_dominate(text, wanted):
    """99 of 100 pixels are background, and everything is taken for it.

    Its dice is 2 * 99 / (99 + 100), its iou 99 / 100; those of the other class are 0.
    """
    truth = np.zeros((1, 10, 10), np.uint8)
    truth[0, 3, 4] = 1
    logits = np.zeros((1, 10, 10, 2), np.float32)
    logits[..., 0] = 100
    assert value(text, truth, logits) == pytest.approx(wanted, rel=1e-5)


def test_sums_add(batch):
    parts = [value(name, *batch) for name in LOSSES]
    assert value("+".join(LOSSES), *batch) == pytest.approx(sum(parts), rel=1e-5)
    assert len(set(parts)) == len(LOSSES)


@pytest.mark.parametrize("text", ["", "tversky", "dice+", "+dice", "dice+dice", "dice,iou", "Dice"])
def test_wrong_texts(text):
    with pytest.raises(ValueError, match="must be one of crossentropy, dice, focal, iou"):
        SegmentationLoss(text)


def test_texts_of_the_command_line():
    assert loss_terms("focal + dice") == ("focal", "dice")
    assert parse_loss("focal + dice") == parse_loss("dice+focal") == "dice+focal"
    with pytest.raises(argparse.ArgumentTypeError, match="'dise' must be one of"):
        parse_loss("dise")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_logits_of_half_precision(dtype, batch):
    truth, logits, weights = batch
    half = ops.cast(logits, dtype)
    answer = SegmentationLoss("+".join(LOSSES))(truth, half, weights)
    assert keras.backend.standardize_dtype(answer.dtype) == "float32"
    wanted = value("+".join(LOSSES), truth, ops.cast(half, "float32"), weights)
    assert float(answer) == wanted


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_ids_of_any_type(dtype, batch):
    truth, logits, _ = batch
    assert value("dice", truth.astype(dtype), logits) == value("dice", truth, logits)


def test_totals_of_two_halves_make_the_loss_of_the_whole(batch, monkeypatch):
    """So that the sums may be taken over several devices."""
    halves = [[part[i : i + 1] for part in batch] for i in range(2)]
    text, totals = "+".join(LOSSES), []
    wanted = value(text, *batch)

    def remember(x, axis=None):
        totals.append(ops.sum(x, axis))
        return totals[-1]

    monkeypatch.setattr(losses, "total", remember)
    for half in halves:
        value(text, *half)
    count = len(totals) // 2
    sums = iter([totals[i] + totals[count + i] for i in range(count)])
    monkeypatch.setattr(losses, "total", lambda x, axis=None: next(sums))
    assert value(text, *halves[0]) == pytest.approx(wanted, rel=1e-5)


def test_a_model_keeps_its_loss(batch, tmp_path):
    truth, logits, weights = batch
    model = keras.Sequential([keras.Input((None, None, 5)), keras.layers.Rescaling(1.0)])
    model.compile(loss=SegmentationLoss("focal+iou"))
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert model.loss.text == "focal+iou"
    wanted = value("focal+iou", truth, logits, weights)
    answer = model.evaluate(logits, truth, sample_weight=weights, verbose=0)
    assert answer == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("text", LOSSES)
def test_masks_with_a_channel_of_one(text, batch):
    truth, logits, weights = batch
    for given in (None, weights):
        more = None if given is None else given[..., None]
        assert value(text, truth[..., None], logits, more) == value(text, truth, logits, given)


@pytest.mark.parametrize("classes", [5, 2])
def test_one_hot_masks_are_refused(classes, batch):
    truth, logits, _ = batch
    one_hot = np.eye(classes, dtype=np.float32)[np.minimum(truth, classes - 1)]
    message = "must be class ids, .* not one-hot.*argmax"
    with pytest.raises(ValueError, match=message):
        SegmentationLoss("dice")(one_hot, logits)
    with pytest.raises(ValueError, match=message):
        MeanIoU(5).update_state(one_hot, logits)
    with pytest.raises(ValueError, match=message):
        DataLoss("dice").update_state(one_hot, logits)


@pytest.mark.parametrize("channel", [(), (1,)])
def test_a_compiled_model_goes_on_after_loading(channel, batch, tmp_path):
    """As in a notebook: compile, fit, save, load; with the metric, too."""
    truth, logits, _ = batch
    truth = truth.reshape(*truth.shape, *channel)
    model = keras.Sequential([keras.Input((None, None, 5)), keras.layers.Conv2D(5, 1)])
    model.compile("adam", SegmentationLoss("crossentropy+dice"), metrics=[MeanIoU(5)])
    model.fit(logits, truth, verbose=0)
    before = model.evaluate(logits, truth, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(logits, truth, verbose=0, return_dict=True) == pytest.approx(before)
    answer = model.predict_on_batch(logits)
    judge = keras.metrics.MeanIoU(5, ignore_class=255, sparse_y_pred=False)
    judge.update_state(truth.reshape(answer.shape[:3]), answer)
    assert before["miou"] == pytest.approx(float(judge.result()), rel=1e-5)
    wanted = value("crossentropy+dice", truth, answer)
    assert before["loss"] == pytest.approx(wanted, rel=1e-5)
    again.fit(logits, truth, verbose=0)
