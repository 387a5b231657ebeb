"""The confusion matrix, its figures, and the two protocols of scoring.

In the formulas, `n_ij` is the number of pixels of true class i that are predicted as class j. The
true pixels of class i are `t_i = sum_j n_ij`, its predicted pixels `p_i = sum_j n_ji`.
"""

import numpy as np

from core.config import BACKGROUND, IGNORE
from core.imaging.letterbox import letterbox_mask
from core.imaging.tiles import OnTiles
from core.prediction.predict import OnCanvas

# How a protocol scores a class that occurs in neither truth nor prediction.
ABSENT = {"voc": np.nan, "letterbox": 0.0}


class ConfusionMatrix:
    """Counts pixels by true and predicted class; images are added one by one.

    The `counts` are `n_ij`, int64 `[K, K]`: rows are the truth, columns the prediction. `absent` is
    the figure of a class where its formula divides by 0. NaN leaves the class out of the mean.
    """

    def __init__(self, num_classes: int, absent: float = np.nan):
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.absent = absent

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds an image, two integer arrays of one shape; 255 in the truth is left out."""
        known = truth != IGNORE
        size = len(self.counts)
        cells = truth[known].astype(np.int64) * size + prediction[known]
        self.counts += np.bincount(cells, minlength=size * size).reshape(size, size)

    @property
    def truth_pixels(self) -> np.ndarray:
        """True pixels of each class, `t_i`, int64 `[K]`."""
        return self.counts.sum(axis=1)

    @property
    def predicted_pixels(self) -> np.ndarray:
        """Predicted pixels of each class, `p_i`, int64 `[K]`."""
        return self.counts.sum(axis=0)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, `n_ii / (t_i + p_i - n_ii)`."""
        return self._share_of(self.truth_pixels + self.predicted_pixels - self.counts.diagonal())

    @property
    def precision(self) -> np.ndarray:
        """Share of a class's predicted pixels that are right, `n_ii / p_i`."""
        return self._share_of(self.predicted_pixels)

    @property
    def recall(self) -> np.ndarray:
        """Share of a class's true pixels that are found, `n_ii / t_i`."""
        return self._share_of(self.truth_pixels)

    @property
    def dice(self) -> np.ndarray:
        """Dice coefficient, or F1 score, of each class, `2 n_ii / (t_i + p_i)`."""
        return self._share_of(self.truth_pixels + self.predicted_pixels, factor=2)

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over all classes."""
        return _mean(self.iou)

    def object_iou(self, names) -> float:
        """Mean of `iou` over all classes but the background, which class 0 is if named so."""
        return _mean(self.iou[names[0].lower() in BACKGROUND :])

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou` weighted by the classes' pixels, `sum_i t_i iou_i / sum_i t_i`."""
        pixels, present = self.truth_pixels, self.truth_pixels > 0
        return np.average(self.iou[present], weights=pixels[present]) if any(present) else np.nan

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels whose class is right, `sum_i n_ii / sum_i t_i`."""
        return self.counts.trace() / self.counts.sum() if self.counts.any() else np.nan

    @property
    def absent_classes(self) -> np.ndarray:
        """Ids of the classes that occur in neither truth nor prediction."""
        return np.flatnonzero(self.truth_pixels + self.predicted_pixels == 0)

    def _share_of(self, pixels, factor=1):
        shares = np.full(len(pixels), self.absent)
        return np.divide(factor * self.counts.diagonal(), pixels, out=shares, where=pixels > 0)


def _mean(values):
    known = values[~np.isnan(values)]
    return known.mean() if known.size else np.nan


def judge(answer: OnCanvas | OnTiles, mask: np.ndarray, protocol: str) -> tuple:
    """Returns truth and prediction of an image, two integer arrays of one shape.

    "voc" compares at the image's own size, 255 left out. "letterbox" compares on the canvas, as the
    original project did (https://github.com/verages/UNet-keras): 255 and the padding count as
    background, and the answer is an `OnCanvas`. The mask is the image's own, uint8 `[H, W]`.
    """
    if protocol == "voc":
        return mask, answer.class_map()
    truth = letterbox_mask(mask, answer.scores.shape[:2])
    return np.where(truth == IGNORE, 0, truth), answer.scores.argmax(-1).astype(np.uint8)
