import numpy as np
import pytest

from core.config import VOC_CLASSES
from core.imaging.draw import vivid
from core.prediction.charts import _powers, _spread, draw_confusion, draw_curves

BEST = (40, 140, 60)


def history(*losses):
    return [
        {"epoch": i, "loss": loss, "val_loss": loss, "miou": 0.1 * i, "val_miou": 0.1 * i}
        for i, loss in enumerate(losses, 1)
    ]


def rows_of(chart, colour):
    return np.flatnonzero((chart == colour).all(-1).any(1))


def test_curves_for_one_epoch_many_and_nan():
    rows = history(*(1 / i for i in range(1, 8)))
    for row in rows:
        row["val_loss"] = float("nan")
    for count in (1, 7):
        chart = draw_curves(rows[:count], count)
        assert chart.shape == (450, 1000, 3)
    assert (chart == (31, 119, 180)).all(-1).sum() > 500


def test_the_best_epoch_is_marked():
    """A dashed line in each panel, and a ring about 0.2 of 0 to 0.5 at 350 pixels' height."""
    chart = draw_curves(history(4, 3, 2, 2), 2)
    ring = (chart[:, 685:716] == BEST).all(-1).any(1)
    for left in (60, 560):
        columns = np.flatnonzero((chart[60:380, left : left + 420] == BEST).all(-1).sum(0) > 100)
        assert columns.tolist() == [140]
    assert ring.any()


@pytest.mark.parametrize("last, log", [(0.21, False), (0.19, True), (0, False)])
def test_the_loss_has_a_log_axis_where_it_falls_far(last, log):
    """Where 2 lies between 4 and `last`: on an axis from 0 to 4, or from 0.1 to 5."""
    chart = draw_curves(history(4, 2, last), 1)[60:, 265:276]  # the middle one of three epochs
    height = 400 - 60 - np.flatnonzero((chart == (214, 108, 14)).all(-1).any(1)).mean()
    wanted = 350 * (np.log(2 / 0.1) / np.log(5 / 0.1) if log else 2 / 4)
    assert height == pytest.approx(wanted, abs=8)


def test_the_ticks_of_a_log_axis():
    assert _powers(0.19, 4) == [0.1, 0.2, 0.5, 1, 2, 5]
    assert _powers(0.05, 2) == [0.05, 0.1, 0.2, 0.5, 1, 2]
    assert _powers(3e-5, 4) == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10]


def test_each_class_has_its_curve():
    """Also one that occurs later, one that nowhere does, and one of a run that began without."""
    classes = [
        ("cat", (128, 0, 0), [0.1, 0.2, 0.5]),
        ("dog", (0, 128, 0), [None, 0.2, 0.3]),
        ("cow", (0, 0, 128), [None, None, None]),
    ]
    chart = draw_curves(history(3, 2, 1), 3, classes)
    assert chart.shape[1] > 1500
    found = [(chart == colour).all(-1).sum() for colour in vivid([c for _, c, _ in classes])]
    assert found[0] > 300 and found[1] > 150 and found[2] == 0
    assert draw_curves(history(3, 2, 1), 3, classes[2:]).shape[1] == 1000


def test_labels_of_21_classes_do_not_overlap():
    places = _spread([60 + i for i in range(21)], 50, 400)
    assert (np.diff(places) >= 15).all() and places[0] >= 50 and places[-1] <= 400
    assert _spread([100, 390, 395, 399], 50, 400) == [100, 370, 385, 400]
    classes = [(name, (128, 0, 0), [0.5]) for name in VOC_CLASSES * 10]
    assert draw_curves(history(1), 1, classes).shape[0] == 450


def test_confusion_by_hand():
    """Rows are normalized: white for nothing, dark blue for all; a class without pixels is free."""
    counts = np.array([[8, 0, 0], [0, 0, 0], [10, 10, 980]])
    chart = draw_confusion(counts, ("a", "b", "c"))
    corner = chart[-20 - 270 : -20, -20 - 270 : -20]
    cells = corner.reshape(3, 90, 3, 90, 3)[:, 10, :, 10]
    assert cells[0].tolist() == [[8, 48, 107], [255] * 3, [255] * 3]
    assert cells[1].tolist() == [[255] * 3] * 3
    np.testing.assert_allclose(cells[2, 0], 255 - 0.1 * np.subtract(255, (8, 48, 107)), atol=1)
    assert cells[2, 0].tolist() == cells[2, 1].tolist() and cells[2, 2].max() < 115


def test_confusion_of_many_classes():
    for count in (21, 100):
        chart = draw_confusion(np.eye(count, dtype=int), [f"class{i}" for i in range(count)])
        assert 900 < chart.shape[0] < 1700
