from fractions import Fraction

import keras
import numpy as np
import pytest
import sklearn.metrics as sklearn

from core.evaluation.metrics import ABSENT, ConfusionMatrix, judge
from core.imaging.letterbox import letterbox_mask
from core.prediction.predict import OnCanvas

FIGURES = (
    "iou",
    "precision",
    "recall",
    "dice",
    "mean_iou",
    "frequency_weighted_iou",
    "pixel_accuracy",
)


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
    assert matrix.object_iou(("Background", "a", "b")) == pytest.approx(1 / 3)
    assert matrix.object_iou(("membrane", "a", "b")) == matrix.mean_iou
    assert matrix.pixel_accuracy == pytest.approx(3 / 5)
    np.testing.assert_allclose(matrix.precision, [2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(matrix.recall, [2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(matrix.dice, [4 / 6, 2 / 4, np.nan])
    assert matrix.frequency_weighted_iou == pytest.approx((3 * 2 / 4 + 2 * 1 / 3) / 5)
    assert matrix.absent_classes.tolist() == [2]


def test_absent_classes_count_as_0_where_the_protocol_says_so():
    matrix = matrix_of([0, 0, 1, 1], [0, 0, 1, 0], 4, absent=0.0)
    np.testing.assert_allclose(matrix.iou, [2 / 3, 1 / 2, 0, 0])
    assert matrix.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 4)
    assert np.isnan(ABSENT["voc"]) and ABSENT["letterbox"] == 0


def test_a_class_that_is_only_predicted_counts():
    assert matrix_of([0, 0], [0, 2], 3).mean_iou == pytest.approx((1 / 2 + 0) / 2)


def cases():
    """Truth, prediction and number of classes, for scikit-learn and Keras."""
    rng = np.random.default_rng(3)

    def drawn(classes, truths, predictions, shape=(37, 41)):
        return rng.choice(truths, shape).astype(np.uint8), rng.choice(predictions, shape), classes

    return {
        "all classes": drawn(5, range(5), range(5)),
        "with void": drawn(5, [*range(5), 255], range(5)),
        "class absent": drawn(6, [0, 1, 3, 255], [0, 1, 3]),
        "class only predicted": drawn(4, [0, 2], [0, 1, 2]),
        "class never predicted": drawn(4, range(4), [0, 3]),
        "one class of two": drawn(2, [0, 255], [0]),
        "one class of many": drawn(5, [2], [2]),
        "one pixel, right": drawn(3, [1], [1], (1, 1)),
        "one pixel, wrong": drawn(3, [1], [2], (1, 1)),
        "21 classes": drawn(21, [*range(21), 255], range(21), (200, 210)),
    }


@pytest.mark.parametrize("case", cases())
def test_scikit_learn_and_keras(case):
    """They agree on every figure."""
    truth, prediction, classes = cases()[case]
    matrix = matrix_of(truth, prediction, classes)
    known = truth != 255
    t, p = truth[known], prediction[known]
    labels = range(classes)
    np.testing.assert_array_equal(matrix.counts, sklearn.confusion_matrix(t, p, labels=labels))

    def close(figure, wanted):
        np.testing.assert_allclose(figure, wanted, rtol=0, atol=1e-9)

    present = np.union1d(t, p)
    close(matrix.iou[present], sklearn.jaccard_score(t, p, labels=present, average=None))
    assert np.isnan(np.delete(matrix.iou, present)).all()
    assert matrix.absent_classes.tolist() == sorted(set(labels) - set(present))
    close(matrix.mean_iou, sklearn.jaccard_score(t, p, labels=present, average="macro"))
    close(
        matrix.frequency_weighted_iou,
        sklearn.jaccard_score(t, p, labels=present, average="weighted", zero_division=0),
    )
    close(matrix.pixel_accuracy, sklearn.accuracy_score(t, p))
    precision, recall, dice, pixels = sklearn.precision_recall_fscore_support(
        t, p, labels=labels, zero_division=np.nan
    )
    close(matrix.precision, precision)
    close(matrix.recall, recall)
    close(matrix.dice, dice)
    close(matrix.truth_pixels, pixels)

    metric = keras.metrics.MeanIoU(classes, ignore_class=255)
    metric.update_state(truth.astype(int), prediction)
    np.testing.assert_array_equal(matrix.counts, metric.total_cm)
    # Keras divides its counts in float32 and adds 1e-7 below, whatever the metric's dtype.
    assert matrix.mean_iou == pytest.approx(float(metric.result()), abs=5e-7)


def test_void_never_counts(rng):
    truth, prediction, _ = cases()["with void"]
    other = np.where(truth == 255, rng.integers(0, 5, truth.shape), prediction)
    assert (other != prediction).any()
    np.testing.assert_array_equal(
        matrix_of(truth, prediction, 5).counts, matrix_of(truth, other, 5).counts
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_the_precision_of_the_inputs_does_not_matter(dtype):
    truth, prediction, classes = cases()["21 classes"]
    matrix = ConfusionMatrix(classes)
    matrix.add(truth.astype(dtype), prediction.astype(dtype))
    np.testing.assert_array_equal(matrix.counts, matrix_of(truth, prediction, classes).counts)


def test_doubling_the_data_changes_no_figure():
    truth, prediction, classes = cases()["class never predicted"]
    once, twice = matrix_of(truth, prediction, classes), matrix_of(truth, prediction, classes)
    twice.add(truth, prediction)
    for figure in FIGURES:
        np.testing.assert_array_equal(getattr(once, figure), getattr(twice, figure))


def test_only_void_has_no_score():
    matrix = matrix_of([255, 255], [0, 1], 2)
    assert all(np.isnan(getattr(matrix, figure)).all() for figure in FIGURES)


def test_more_than_2_to_the_31_pixels():
    """As many pixels as no int32 and no float32 can count, against exact fractions."""
    counts = [[3 * 2**40 + 1, 7], [2**33 + 5, 2**35 + 3]]
    matrix = ConfusionMatrix(2)
    matrix.counts[:] = counts
    matrix.add(np.array([0, 1], np.uint8), np.array([0, 0]))
    counts[0][0] += 1
    counts[1][0] += 1
    assert matrix.counts.dtype == np.int64 and matrix.counts.tolist() == counts
    union = counts[0][1] + counts[1][0]
    exact = [Fraction(counts[i][i], counts[i][i] + union) for i in (0, 1)]
    np.testing.assert_allclose(matrix.iou, [float(iou) for iou in exact], rtol=1e-15)


def one_hot(mask, num_classes):
    return np.eye(num_classes, dtype=np.float32)[np.where(mask == 255, 0, mask)]


def test_the_voc_protocol_compares_at_the_image_s_own_size():
    mask = np.zeros((40, 80), np.uint8)
    mask[10:30, 20:60] = 1
    mask[0] = 255
    scores = one_hot(letterbox_mask(mask, (160, 160)), 2)
    truth, prediction = judge(OnCanvas(scores, mask.shape), mask, "voc")
    assert truth is mask and prediction.shape == mask.shape
    np.testing.assert_array_equal(prediction[truth != 255], mask[truth != 255])


def test_the_letterbox_protocol_counts_padding_and_void_as_background():
    mask = np.full((16, 32), 1, np.uint8)
    mask[:, :8] = 255
    scores = one_hot(np.ones((32, 32), np.uint8), 2)  # object everywhere, also on the padding
    truth, prediction = judge(OnCanvas(scores, mask.shape), mask, "letterbox")
    assert truth.shape == prediction.shape == (32, 32)
    matrix = ConfusionMatrix(2)
    matrix.add(truth, prediction)
    assert matrix.counts.tolist() == [[0, 32 * 32 - 16 * 24], [0, 16 * 24]]
