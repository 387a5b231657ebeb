"""Objects, against scikit-image."""

import numpy as np
from skimage.filters import gaussian
from skimage.measure import label, regionprops

from core.prediction.objects import COLUMNS, find_objects

NAMES = ("background", "a", "b")


def blobs(rng, shape=(90, 130)):
    """A mask with regions of three classes, some of them a pixel."""
    smooth = gaussian(rng.random(shape), 2) + rng.normal(0, 0.01, shape)
    return np.digitize(smooth, np.quantile(smooth, (0.4, 0.7))).astype(np.uint8)


def measured(found, values, best, names=NAMES):
    """The lines of objects.csv, dictionaries by its header."""
    rows = found.measured(names, values, best)
    return [dict(zip(COLUMNS[2:], row, strict=True)) for row in rows]


def test_everything_that_is_measured(rng):
    mask, best = blobs(rng), rng.random((90, 130)).astype(np.float16)
    values = rng.integers(0, 65536, (90, 130, 3)).astype(np.uint16)
    found = find_objects(mask, 1, 3)
    rows = measured(found, values, best)
    images = np.dstack((values, values.mean(-1), best.astype(float)))
    props = regionprops(found.labels, images)
    assert len(rows) == len(props) > 50 and found.smaller == 0
    assert found.counts(NAMES) == {
        name: label(mask == class_id, connectivity=2).max()
        for class_id, name in enumerate(NAMES)
        if class_id
    }
    for row, prop in zip(rows, props, strict=True):
        assert row["label"] == prop.label and row["area"] == prop.area
        assert row["class"] == NAMES[mask[tuple(prop.coords[0])]]
        top, left, bottom, right = prop.bbox
        assert [row[name] for name in ("left", "top", "width", "height")] == [
            left,
            top,
            right - left,
            bottom - top,
        ]
        figures = float(row["y"]), float(row["x"]), float(row["mean_intensity"])
        wanted = *prop.centroid, prop.intensity_mean[3]
        np.testing.assert_allclose(figures, wanted, rtol=1e-5)
        np.testing.assert_allclose(
            float(row["mean_probability"]), prop.intensity_mean[4], rtol=1e-5
        )


def test_the_labels_are_the_regions_of_each_class(rng):
    mask = blobs(rng)
    found = find_objects(mask, 0, 3)
    for class_id in range(3):
        wanted = label(mask == class_id, connectivity=2)
        mine = np.where(mask == class_id, found.labels, 0)
        pairs = np.unique(np.stack((wanted.ravel(), mine.ravel())), axis=1)
        assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1])) == wanted.max() + 1
    assert (found.labels > 0).all() and found.image().dtype == np.uint16


def test_by_hand():
    """Pixels that touch by a corner are one object; others that are too small are left out."""
    mask = np.array([[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 0, 1]], np.uint8)
    found = find_objects(mask, 1, 3, min_area=2)
    assert found.labels.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert found.smaller == 2 and found.counts(NAMES) == {"a": 1, "b": 0}
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (row,) = found.measured(NAMES, grey, np.full((3, 4), 0.5, np.float32))
    assert row == ("a", 1, 2, "0.5", "0.5", 0, 0, 2, 2, "2.5", "0.5")


def test_no_objects():
    found = find_objects(np.zeros((3, 4), np.uint8), 1, 3)
    assert measured(found, np.zeros((3, 4)), np.zeros((3, 4))) == []
    assert found.counts(NAMES) == {"a": 0, "b": 0} and not found.image().any()


def test_more_objects_than_16_bits_can_number():
    mask = np.zeros((520, 520), np.uint8)
    mask[::2, ::2] = 1
    found = find_objects(mask, 1, 2)
    assert found.labels.max() == 260 * 260 > 65535
    assert found.image().dtype == np.int32
