import numpy as np
import pytest

from core.image import letterbox_mask
from core.metrics import ConfusionMatrix, confusion_matrix, judge


def matrix_of(truth, prediction, num_classes, **options):
    matrix = ConfusionMatrix(num_classes, **options)
    matrix.add(np.array(truth, np.uint8), np.array(prediction))
    return matrix


def test_by_hand():
    matrix = matrix_of([0, 0, 0, 1, 1, 255], [0, 0, 1, 1, 0, 1], 3)
    assert matrix.counts.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert matrix.truth_pixels.tolist() == [3, 2, 0]
    np.testing.assert_allclose(matrix.iou, [2 / 4, 1 / 3, np.nan])
    assert matrix.mean_iou == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert matrix.object_iou == pytest.approx(1 / 3)
    assert matrix.pixel_accuracy == pytest.approx(3 / 5)


def test_absent_classes_count_as_0_where_the_protocol_says_so():
    matrix = matrix_of([0, 0, 1, 1], [0, 0, 1, 0], 4, absent=0.0)
    np.testing.assert_allclose(matrix.iou, [2 / 3, 1 / 2, 0, 0])
    assert matrix.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 4)
    assert (
        np.isnan(confusion_matrix(2, "voc").absent) and confusion_matrix(2, "letterbox").absent == 0
    )


def test_a_class_that_is_only_predicted_counts():
    assert matrix_of([0, 0], [0, 2], 3).mean_iou == pytest.approx((1 / 2 + 0) / 2)


def test_agrees_with_keras(rng):
    import keras

    truth = rng.integers(0, 5, (4, 30, 30)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = 255
    prediction = rng.integers(0, 5, truth.shape)
    metric = keras.metrics.MeanIoU(5, ignore_class=255)
    metric.update_state(truth.astype(int), prediction)
    matrix = ConfusionMatrix(5)
    for pair in zip(truth, prediction, strict=True):
        matrix.add(*pair)
    assert matrix.mean_iou == pytest.approx(float(metric.result()), abs=1e-6)


def test_only_void_has_no_score():
    matrix = matrix_of([255, 255], [0, 1], 2)
    assert np.isnan(matrix.mean_iou) and np.isnan(matrix.pixel_accuracy)


def test_more_than_2_to_the_31_pixels():
    matrix = matrix_of([0, 1], [0, 0], 2)
    for _ in range(34):
        matrix.counts += matrix.counts
    assert matrix.counts.sum() == 2**35
    np.testing.assert_allclose(matrix.iou, [0.5, 0])


def one_hot(mask, num_classes):
    return np.eye(num_classes, dtype=np.float32)[np.where(mask == 255, 0, mask)]


def test_the_voc_protocol_compares_at_the_picture_s_own_size():
    mask = np.zeros((40, 80), np.uint8)
    mask[10:30, 20:60] = 1
    mask[0] = 255
    scores = one_hot(letterbox_mask(mask, (160, 160)), 2)
    truth, prediction = judge(scores, mask, "voc")
    assert truth is mask and prediction.shape == mask.shape
    np.testing.assert_array_equal(prediction[truth != 255], mask[truth != 255])


def test_the_letterbox_protocol_counts_padding_and_void_as_background():
    mask = np.full((16, 32), 1, np.uint8)
    mask[:, :8] = 255
    scores = one_hot(np.ones((32, 32), np.uint8), 2)  # object everywhere, also on the padding
    truth, prediction = judge(scores, mask, "letterbox")
    assert truth.shape == prediction.shape == (32, 32)
    matrix = confusion_matrix(2, "letterbox")
    matrix.add(truth, prediction)
    assert matrix.counts.tolist() == [[0, 32 * 32 - 16 * 24], [0, 16 * 24]]
