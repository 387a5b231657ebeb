import keras
import numpy as np
import pytest
from keras import ops

from core.training.figures import DataLoss, MeanIoU
from core.training.losses import SegmentationLoss


def logits_of(ids, classes):
    """Logits that are highest for these ids."""
    return np.eye(classes, dtype=np.float32)[ids]


def test_miou_by_hand():
    """Class 0: 2 of 3 pixels, class 1: 1 of 2, class 3: none of 1; class 2 does not occur."""
    metric = MeanIoU(4)
    truth = np.array([[[0, 0, 1], [3, 255, 255]]], np.uint8)
    metric.update_state(truth, logits_of(np.array([[[0, 0, 1], [1, 2, 3]]]), 4))
    assert float(metric.result()) == pytest.approx((1 + 1 / 2 + 0) / 3)
    metric.update_state(np.zeros((1, 1, 1), np.uint8), logits_of(np.ones((1, 1, 1), int), 4))
    assert float(metric.result()) == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    iou, present = metric.by_class()
    np.testing.assert_allclose(iou, [2 / 3, 1 / 3, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(present, [1, 1, 0, 1])
    metric.reset_state()
    assert float(metric.result()) == 0


@pytest.mark.parametrize("classes", [2, 3, 21, 255])
def test_miou_is_keras_own(rng, classes):
    metric = MeanIoU(classes)
    judge = keras.metrics.MeanIoU(classes, ignore_class=255, sparse_y_pred=False)
    for height in (20, 31):
        truth = rng.integers(0, max(2, classes - 1), (2, height, 30)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.2] = 255
        logits = rng.normal(size=(*truth.shape, classes)).astype(np.float32)
        logits += 2 * logits_of(truth % classes, classes)
        metric.update_state(truth, logits)
        judge.update_state(truth, logits)
        assert float(metric.result()) == pytest.approx(float(judge.result()), rel=1e-6)


@pytest.mark.parametrize("before", [2**20 - 1, 2**24 + 1, 2**31 - 2, 2**31 + 5, 2**44])
def test_miou_counts_beyond_32_bits(before):
    """Class 0 has `before` pixels that were right and gets one, class 1 the same and three wrong.

    As whole numbers, so exactly.
    """
    metric = MeanIoU(2)
    low = min(before, 2**31 - 2)  # as a single batch could leave it
    metric.low.assign(low * np.eye(2, dtype=np.int64))
    metric.high.assign((before - low) // 2**20 * np.eye(2, dtype=np.int64))
    counted = low + (before - low) // 2**20 * 2**20
    truth = np.array([[[0, 1, 1, 1]]], np.uint8)
    for _ in range(3):
        metric.update_state(truth, logits_of(np.zeros((1, 1, 4), int), 2))
    high, low = (np.asarray(ops.convert_to_numpy(v), object) for v in (metric.high, metric.low))
    assert (high * 2**20 + low).tolist() == [[counted + 3, 0], [9, counted]]
    wanted = ((counted + 3) / (counted + 12) + counted / (counted + 9)) / 2
    assert float(metric.result()) == pytest.approx(wanted, rel=1e-6)


def test_miou_of_masks_with_a_channel_of_one():
    """As by hand: class 0 has 1 of 2 pixels, class 1 has 2 of 3."""
    metric = MeanIoU.from_config(MeanIoU(2, name="iou").get_config())
    truth = np.array([[[0, 0, 1, 1]]], np.uint8)[..., None]
    metric.update_state(truth, logits_of(np.array([[[0, 1, 1, 1]]]), 2))
    assert metric.name == "iou" and float(metric.result()) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_the_loss_on_the_data_by_hand():
    """Crossentropy of all known pixels, three of a batch and one of the next."""
    metric = DataLoss("crossentropy")
    logits = np.log(np.array([[1, 3], [2, 2], [3, 1], [1, 3]], np.float32) / 4)[None, None]
    metric.update_state(np.array([[[0, 0, 0, 255]]], np.uint8), logits)
    metric.update_state(np.array([[[1, 255, 255, 255]]], np.uint8), logits)
    wanted = -np.log([1 / 4, 1 / 2, 3 / 4, 3 / 4]).mean()
    assert float(metric.result()) == pytest.approx(wanted, rel=1e-6)


def test_the_loss_on_the_data_is_the_one_that_is_named(rng):
    truth = rng.integers(0, 3, (2, 6, 7)).astype(np.uint8)
    logits = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)
    for text in ("focal", "dice", "crossentropy+iou"):
        metric = DataLoss(text)
        metric.update_state(truth, logits)
        wanted = float(SegmentationLoss(text)(truth, logits))
        assert float(metric.result()) == pytest.approx(wanted, rel=1e-6)


def test_a_compiled_network_can_be_cloned():
    """With loss and figures, as `fit` gets it."""
    pixels = keras.Input((8, 8, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 1)(pixels))
    network.compile(loss=SegmentationLoss("dice"), metrics=[MeanIoU(2), DataLoss("focal")])
    network.train_on_batch(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8), np.uint8))
    metrics = {"loss", "miou", "data_loss"}
    copy = keras.models.clone_model(network)
    assert metrics == network.get_metrics_result().keys()
    copy.train_on_batch(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8), np.uint8))
    assert metrics == copy.get_metrics_result().keys()
