"""V_rand and V_info: cases by hand, and scikit-image and scikit-learn as judges."""

import numpy as np
import pytest
from scipy.stats import entropy
from skimage.metrics import adapted_rand_error, variation_of_information
from sklearn.metrics import normalized_mutual_info_score

from core.evaluation.segments import (
    THRESHOLDS,
    best_scores,
    cells,
    overlap,
    slice_scores,
    thin,
    v_info,
    v_rand,
)


def scores_of(segmentation, truth):
    shares = overlap(np.array(segmentation), np.array(truth))
    return v_rand(*shares), v_info(*shares)


def stripes(*widths, height=4):
    """Cells of these widths beside each other with membranes of one pixel between: 1 is cell."""
    row = np.concatenate([[1] * width + [0] for width in widths])[:-1]
    return np.tile(row, (height, 1)).astype(np.uint8)


def scores_at_half(prediction, truth):
    return slice_scores(prediction.astype(np.float32), truth)[THRESHOLDS.index(0.5)]


def entropy_of(*sizes):
    shares = np.array(sizes) / sum(sizes)
    return -(shares * np.log(shares)).sum()


def test_a_perfect_prediction():
    truth = stripes(3, 5, 2)
    np.testing.assert_allclose(slice_scores(truth.astype(np.float32), truth), 1, rtol=1e-12)


def test_everything_merged():
    truth = stripes(3, 5)
    v = scores_at_half(np.ones_like(truth), truth)
    assert v[0] == pytest.approx(2 * (3**2 + 5**2) / (8**2 + 3**2 + 5**2))
    assert v[1] == pytest.approx(0)


def test_everything_split():
    """Without any predicted cell every pixel is one: 12 and 20 pixels, 32 in all."""
    truth = stripes(3, 5)
    v = scores_at_half(np.zeros_like(truth), truth)
    assert v[0] == pytest.approx(2 * 32 / (32 + 12**2 + 20**2))
    assert v[1] == pytest.approx(2 * entropy_of(3, 5) / (np.log(32) + entropy_of(3, 5)))


def test_one_cell_split_in_halves():
    v = scores_of([1, 1, 2, 2], [1, 1, 1, 1])
    assert v == (pytest.approx(2 * 0.5 / (0.5 + 1)), pytest.approx(0))


def test_one_wrong_merge_of_two_cells():
    truth = stripes(3, 5, 2)
    prediction = truth.copy()
    prediction[1, 3] = 1  # a gap in the membrane between the cells of 3 and 5
    v = scores_at_half(prediction, truth)
    true_squares = 3**2 + 5**2 + 2**2
    assert v[0] == pytest.approx(2 * true_squares / (8**2 + 2**2 + true_squares))
    merged, apart = entropy_of(8, 2), entropy_of(3, 5, 2)  # I(S; T) = H(S): T says all of S
    assert v[1] == pytest.approx(2 * merged / (merged + apart))


def test_cells_touch_at_edges_and_not_at_corners():
    assert cells(np.array([[1, 0], [0, 1]])).max() == 2
    assert cells(np.array([[1, 1], [0, 1]])).max() == 1


def test_thinning_by_hand():
    labels = np.array([[1, 0, 0, 0, 0, 2, 2]], np.int32)
    assert thin(labels).tolist() == [[1, 1, 1, 2, 2, 2, 2]]
    assert thin(np.array([[3, 4]], np.int32)).tolist() == [[3, 4]]
    assert np.unique(thin(np.zeros((2, 3), np.int32))).tolist() == [1, 2, 3, 4, 5, 6]


def test_thinning_gives_every_pixel_to_the_nearest_component(rng):
    labels = cells(rng.random((20, 25)) < 0.15)
    grown = thin(labels)
    places = np.argwhere(labels)
    for place in np.argwhere(labels == 0):
        distances = np.square(places - place).sum(axis=1)
        nearest = labels[tuple(places[distances == distances.min()].T)]
        assert grown[tuple(place)] in nearest


def test_the_width_of_membranes_does_not_count():
    truth = stripes(9, 9, height=12)
    for wider in (1, 2, 3):
        prediction = truth.copy()
        prediction[:, 9 - wider : 10 + wider] = 0
        np.testing.assert_allclose(scores_at_half(prediction, truth), 1)


def test_true_membranes_and_ignored_pixels_do_not_count(rng):
    truth = stripes(4, 4)
    prediction = truth.copy()
    truth[:, 7] = 255
    prediction[:, 7] = 0
    np.testing.assert_allclose(scores_at_half(prediction, truth), 1)


def test_the_best_threshold_is_found():
    """At 0.5 a gap merges the cells, above 0.6 the membrane is whole."""
    truth = stripes(3, 5)
    probability = truth.astype(np.float32)
    probability[1, 3] = 0.65
    best = best_scores([slice_scores(probability, truth)])
    assert best == {"v_rand": (pytest.approx(1), 0.7), "v_info": (pytest.approx(1), 0.7)}


def test_a_stack_is_the_mean_of_its_slices_and_slices_without_cells_say_nothing():
    truth = stripes(3, 5)
    slices = [
        slice_scores(prediction.astype(np.float32), mask)
        for prediction, mask in ((truth, truth), (np.ones_like(truth), truth), (truth, truth * 0))
    ]
    assert np.isnan(slices[2]).all()
    merged = 2 * (3**2 + 5**2) / (8**2 + 3**2 + 5**2)
    assert best_scores(slices)["v_rand"] == (pytest.approx((1 + merged) / 2), 0.1)
    assert np.isnan(best_scores(slices[2:])["v_rand"][0])


def segmentations():
    """Pairs of predicted and true cells; 0 in the truth is left out."""
    rng = np.random.default_rng(5)
    shapes = [rng.integers(1, 40, 2) for _ in range(20)]
    some, one = rng.integers(1, 3, (6, 6)), np.full((6, 6), 2)
    return [
        *((rng.integers(1, 9, shape), rng.integers(0, 7, shape)) for shape in shapes),
        *((one, one), (one, some), (some, one), (some, 0 * one)),
        (np.array([[4]]), np.array([[1]])),
    ]


@pytest.mark.parametrize(("segmentation", "truth"), segmentations())
def test_judges(segmentation, truth):
    known = truth > 0
    s, t = segmentation[known], truth[known]
    rand, info = scores_of(segmentation, truth)
    if not known.any():
        assert np.isnan(rand) and np.isnan(info)
        return
    # scikit-learn's arithmetic mean of entropies is V_info's.
    judge = normalized_mutual_info_score(t, s, average_method="arithmetic")
    assert info == pytest.approx(judge, abs=1e-9)
    variation = sum(variation_of_information(truth, segmentation, ignore_labels=(0,)))
    entropies = sum(entropy(np.unique(part, return_counts=True)[1], base=2) for part in (s, t))
    if len(np.unique(t)) > 1 or len(np.unique(s)) > 1:
        assert info == pytest.approx(1 - variation / entropies, abs=1e-9)

    # scikit-image draws its two pixels without putting the first one back, so that every sum of
    # squared counts is smaller by the number of pixels; the paper's p_ij^2 puts it back.
    squares = sum(np.square(np.unique(part, return_counts=True)[1]).sum() for part in (s, t))
    if squares > 2 * s.size:  # else there is no pair within a segment, and its ratio is undefined
        f_score = 1 - adapted_rand_error(truth, segmentation, ignore_labels=(0,))[0]
        joint = f_score * (squares - 2 * s.size) / 2 + s.size
        assert rand == pytest.approx(2 * joint / squares, abs=1e-9)
