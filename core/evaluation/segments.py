"""The scores of the ISBI 2012 challenge: do the predicted membranes separate the same cells?

Definitions after I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation
algorithms for connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi 10.3389/fnana.2015.00142.

- The *cells* of a slice are the 4-connected components of the pixels that are no membrane. The
  prediction has others for each threshold `h`: pixels above that probability of being cell.
- *Border thinning*: the place of a membrane counts, its width does not. Each pixel of predicted
  membrane joins the nearest predicted cell: `S(x) = C(argmin_y |x - y|)` over all pixels `y` of
  cells, with `C` the cell of a pixel and `|.|` the Euclidean distance. (The challenge's own program
  leaves lines one pixel wide.) In a slice without any cell, every pixel is a cell of its own.
- *Foreground-restricted*: only the pixels of true cells count.
- Over those pixels, with `p_ij` the share in predicted cell i and true cell j, `s_i = sum_j p_ij`
  and `t_j = sum_i p_ij`:

      V_rand = 2 sum_ij p_ij^2 / (sum_i s_i^2 + sum_j t_j^2)
      V_info = 2 I(S; T) / (H(S) + H(T))

      H(S) = -sum_i s_i log s_i,  H(T) = -sum_j t_j log t_j
      I(S; T) = sum_ij p_ij log(p_ij / (s_i t_j))

  Both are F-scores from 0 to 1 of wrong splits and wrong merges; 1 stands for the true cells.
- The score of a stack is the mean over its slices at one threshold for all, and the best threshold
  is reported. (A program that adds up all slices' `p_ij^2` before it divides gives more weight to
  the slices with the largest mistakes.)
"""

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))


def cells(foreground: np.ndarray) -> np.ndarray:
    """Numbers the 4-connected components of a slice, int32 `[H, W]` from 1 on; 0 is the rest."""
    return cv2.connectedComponents(foreground.astype(np.uint8), connectivity=4)[1]


def thin(labels: np.ndarray) -> np.ndarray:
    """Gives each membrane pixel to the nearest cell, or makes each its own cell if there is none.

    The labels are int32 `[H, W]`, cells from 1 on, 0 between them; the result has no 0.
    """
    if not labels.any():
        return np.arange(1, labels.size + 1, dtype=np.int32).reshape(labels.shape)
    nearest = distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]


def overlap(segmentation: np.ndarray, truth: np.ndarray) -> tuple:
    """Returns the shares `p_ij` that are not 0, and the sums `s_i` and `t_j`.

    Predicted and true cells are integer arrays of one shape; pixels of 0 in the truth are left out.
    """
    known = truth > 0
    s, t = segmentation[known].astype(np.int64), truth[known].astype(np.int64)
    both = s * (t.max(initial=0) + 1) + t
    return tuple(np.unique(ids, return_counts=True)[1] / max(1, ids.size) for ids in (both, s, t))


def v_rand(p: np.ndarray, s: np.ndarray, t: np.ndarray) -> float:
    """Returns V_rand from the shares of `overlap`; NaN without any true cell."""
    squares = np.square(s).sum() + np.square(t).sum()
    return 2 * np.square(p).sum() / squares if squares else np.nan


def v_info(p: np.ndarray, s: np.ndarray, t: np.ndarray) -> float:
    """Returns V_info from the shares of `overlap`; NaN without any true cell."""
    if not p.size:
        return np.nan
    joint, of_s, of_t = (-(share * np.log(share)).sum() for share in (p, s, t))
    # One cell in both is no mistake, and its entropy is 0.
    return 2 * (of_s + of_t - joint) / (of_s + of_t) if of_s + of_t else 1.0


def slice_scores(cell_probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns V_rand and V_info of a slice, float64 `[len(THRESHOLDS), 2]`; NaN without true cells.

    The probability is float32 `[H, W]`; of the truth all but 1 (cell), so 0 and 255, is left out.
    """
    true_cells = cells(truth == 1)
    shares = [overlap(thin(cells(cell_probability > h)), true_cells) for h in THRESHOLDS]
    return np.array([(v_rand(*share), v_info(*share)) for share in shares])


def best_scores(slices: list) -> dict[str, tuple]:
    """Returns the best scores of a stack from the `slice_scores` of its slices.

    They are `{"v_rand": (score, threshold), "v_info": (score, threshold)}`, NaN and None if no
    slice has a true cell.
    """
    known = [scores for scores in slices if not np.isnan(scores).any()]
    if not known:
        return dict.fromkeys(("v_rand", "v_info"), (np.nan, None))
    means = np.mean(known, axis=0)
    best = zip(("v_rand", "v_info"), means.max(axis=0).tolist(), means.argmax(axis=0), strict=True)
    return {name: (value, THRESHOLDS[row]) for name, value, row in best}
