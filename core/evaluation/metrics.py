"""The confusion matrix, the figures derived from it, and the two protocols of comparing.

In the formulas, `n_ij` is the number of pixels of true class i that were predicted as class j, `t_i
= sum_j n_ij` that of all true pixels of a class, `p_i = sum_j n_ji` that of all predicted ones.
"""

import numpy as np

from core.config import IGNORE
from core.imaging.letterbox import class_map, letterbox_mask


class ConfusionMatrix:
    """Counts pixels by true and predicted class; pictures are added one by one.

    Attributes:
        counts: int64 `[K, K]`, rows are the truth, columns the prediction: `n_ij`.

    Args:
        num_classes: K.
        absent: what a figure of a class is where its formula divides by 0. NaN leaves a class that
            occurs in neither truth nor prediction out of the mean, 0 counts it as missed.
    """

    def __init__(self, num_classes, absent=np.nan):
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.absent = absent

    def add(self, truth, prediction):
        """Adds a picture.

        Args:
            truth: integer array of class ids; pixels of 255 are left out.
            prediction: integer array of the same shape, class ids.
        """
        known = truth != IGNORE
        size = len(self.counts)
        cells = truth[known].astype(np.int64) * size + prediction[known]
        self.counts += np.bincount(cells, minlength=size * size).reshape(size, size)

    @property
    def truth_pixels(self):
        """Pixels of each class in the truth, `t_i`, int64 `[K]`."""
        return self.counts.sum(axis=1)

    @property
    def predicted_pixels(self):
        """Pixels of each class in the prediction, `p_i`, int64 `[K]`."""
        return self.counts.sum(axis=0)

    @property
    def iou(self):
        """Intersection over union of each class, `n_ii / (t_i + p_i - n_ii)`."""
        return self._of_classes(1, self.truth_pixels + self.predicted_pixels - self._correct)

    @property
    def precision(self):
        """Share of the pixels predicted as a class that are of it, `n_ii / p_i`."""
        return self._of_classes(1, self.predicted_pixels)

    @property
    def recall(self):
        """Share of the pixels of a class that are predicted as it, `n_ii / t_i`."""
        return self._of_classes(1, self.truth_pixels)

    @property
    def dice(self):
        """Dice coefficient, or F1 score, of each class, `2 n_ii / (t_i + p_i)`."""
        return self._of_classes(2, self.truth_pixels + self.predicted_pixels)

    @property
    def mean_iou(self):
        """Mean of `iou` over all classes."""
        return _mean(self.iou)

    @property
    def object_iou(self):
        """Mean of `iou` over all classes but the background."""
        return _mean(self.iou[1:])

    @property
    def frequency_weighted_iou(self):
        """Mean of `iou` weighted by the classes' pixels, `sum_i t_i iou_i / sum_i t_i`."""
        present = self.truth_pixels > 0
        if not present.any():
            return np.nan
        return np.average(self.iou[present], weights=self.truth_pixels[present])

    @property
    def pixel_accuracy(self):
        """Share of the pixels whose class is right, `sum_i n_ii / sum_i t_i`."""
        return self._correct.sum() / self.counts.sum() if self.counts.any() else np.nan

    @property
    def absent_classes(self):
        """Ids of the classes that occur in neither truth nor prediction."""
        return np.flatnonzero(self.truth_pixels + self.predicted_pixels == 0)

    @property
    def _correct(self):
        return np.diag(self.counts)

    def _of_classes(self, factor, pixels):
        filled = np.full(len(pixels), self.absent)
        return np.divide(factor * self._correct, pixels, out=filled, where=pixels > 0)


def _mean(values):
    values = values[~np.isnan(values)]
    return values.mean() if values.size else np.nan


def judge(answer, mask, protocol):
    """Returns truth and prediction of a picture as a protocol compares them.

    "voc": the prediction is mapped back to the picture's own size and compared with its mask as it
    is, 255 left out. "letterbox", as the reference's figures were made: both on the canvas, with
    255 and the padding counted as background.

    Args:
        answer: what `predict` said of the picture; for "letterbox" on the canvas.
        mask: the picture's own mask, uint8 `[H, W]`.
        protocol: "voc" or "letterbox".

    Returns:
        Two integer arrays of one shape.
    """
    if protocol == "voc":
        return mask, answer.class_map()
    truth = letterbox_mask(mask, answer.scores.shape[:2])
    return np.where(truth == IGNORE, 0, truth), class_map(answer.scores)


def confusion_matrix(num_classes, protocol):
    """Returns the empty matrix of a protocol: `letterbox` counts absent classes as 0."""
    return ConfusionMatrix(num_classes, absent=np.nan if protocol == "voc" else 0.0)
