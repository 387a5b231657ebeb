"""Objects: the connected regions of a class, numbered and measured."""

import dataclasses

import cv2
import numpy as np

from core.imaging.draw import blocks

NAME = "objects.csv"
COLUMNS = ("file", "page", "class", "label", "area", "x", "y")
COLUMNS += ("left", "top", "width", "height", "mean_intensity", "mean_probability")


@dataclasses.dataclass
class Objects:
    """The objects of a mask; object `i` has the label `i + 1`.

    Attributes:
        labels: int32 `[H, W]`, 0 where there is no object.
        classes: class ids, integers `[N]`.
        boxes: left, top, width, height and area in pixels, int32 `[N, 5]`.
        centroids: x and y, float64 `[N, 2]`; the centre of the first pixel is (0, 0).
        smaller: how many were left out.
        first: the first class that was looked at.
    """

    labels: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    centroids: np.ndarray
    smaller: int
    first: int

    def means(self, values: np.ndarray) -> np.ndarray:
        """Returns the mean of values `[H, W]` or `[H, W, 3]` in each object, float64 `[N]`."""
        count = len(self.classes) + 1
        sums = np.zeros(count)
        for rows in blocks(self.labels):  # so that temporary arrays do not grow with the image
            part = values[rows] if values.ndim == 2 else values[rows].mean(-1)
            sums += np.bincount(self.labels[rows].ravel(), part.ravel(), count)
        return sums[1:] / self.boxes[:, 4]

    def measured(self, names, values: np.ndarray, best: np.ndarray) -> list[tuple]:
        """Returns what `objects.csv` says of each object, from its class on.

        Args:
            names: of the classes.
            values: those of the image's file, `[H, W]` or `[H, W, 3]`.
            best: the probabilities of the mask's classes, `[H, W]`.
        """
        columns = self.centroids, self.means(values), self.means(best)
        texts = [[f"{value:.6g}" for value in row] for row in np.column_stack(columns)]
        about = zip(self.classes, self.boxes.tolist(), texts, strict=True)
        return [
            (names[class_id], label, area, *text[:2], *box, *text[2:])
            for label, (class_id, (*box, area), text) in enumerate(about, 1)
        ]

    def counts(self, names) -> dict:
        """Returns how many objects each class has, by its name; the background is left out."""
        counts = np.bincount(self.classes, minlength=len(names)).tolist()
        return dict(zip(names[self.first :], counts[self.first :], strict=True))

    def image(self) -> np.ndarray:
        """Returns the labels as uint16; more than 65,535 stay int32."""
        return self.labels.astype(np.uint16) if len(self.classes) < 2**16 else self.labels


def find_objects(mask: np.ndarray, first: int, num_classes: int, min_area: int = 1) -> Objects:
    """Finds the connected regions of each class, also those that touch by their corners only.

    Args:
        mask: uint8 `[H, W]`.
        first: the first class to look at: 1 after a background, else 0.
        num_classes: the number of all classes.
        min_area: smaller regions, in pixels, are left out.
    """
    labels, classes, smaller = np.zeros(mask.shape, np.int32), [], 0
    found = [(np.zeros((0, 5), np.int32), np.zeros((0, 2)))]
    for class_id in range(first, num_classes):
        inside = np.uint8(mask == class_id)
        if not inside.any():
            continue
        count, parts, *about = cv2.connectedComponentsWithStats(inside, connectivity=8)
        large = 1 + np.flatnonzero(about[0][1:, cv2.CC_STAT_AREA] >= min_area)
        numbers = np.zeros(count, np.int32)
        numbers[large] = len(classes) + 1 + np.arange(len(large))
        for rows in blocks(mask):
            labels[rows] += numbers[parts[rows]]
        classes += [class_id] * len(large)
        found.append([values[large] for values in about])
        smaller += count - 1 - len(large)
    boxes, centroids = map(np.concatenate, zip(*found, strict=True))
    return Objects(labels, np.array(classes, int), boxes, centroids, smaller, first)
