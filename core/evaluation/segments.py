"""The scores of the ISBI 2012 challenge: do the predicted membranes part the same cells?

Definitions after I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation
algorithms for connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi 10.3389/fnana.2015.00142.

- A *segmentation* of a slice is the set of its cells: the 4-connected components of the pixels that
  are no membrane. The prediction has one for each threshold `h`: the components of the pixels whose
  probability of being cell is above `h`.
- *Border thinning*: where a membrane is drawn should count, not how wide. So the predicted
  components grow over the predicted membrane until they meet: `S(x) = C(argmin_y |x - y|)` over all
  pixels `y` of components, with `C` the component of a pixel and `|.|` the Euclidean distance. This
  thins the membrane to no width: every pixel belongs to a cell. (The challenge's own program leaves
  lines one pixel wide.) In a slice without any component, every pixel is a cell of its own.
- *Foreground-restricted*: only the `n` pixels of true cells count, those of true membrane do not.
- Over those pixels, with `p_ij` the share in predicted cell i and true cell j, `s_i = sum_j p_ij`
  and `t_j = sum_i p_ij`:

      V_rand = 2 sum_ij p_ij^2 / (sum_i s_i^2 + sum_j t_j^2)
      V_info = 2 I(S; T) / (H(S) + H(T))

      H(S) = -sum_i s_i log s_i,  H(T) = -sum_j t_j log t_j
      I(S; T) = sum_ij p_ij log(p_ij / (s_i t_j))

  Both are F-scores, harmonic means of what splits and what merges of cells leave over, from 0 to 1;
  both are 1 only where all cells are parted as in the truth.
- The score of a stack is the mean over its slices, at one threshold for all; the best over the
  thresholds is reported. (A program that adds up all slices' `p_ij^2` before it divides lets the
  slices with the largest mistakes weigh more.)
"""

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))


def cells(foreground):
    """Labels the 4-connected components of a slice, int32 `[H, W]` from 1 on; 0 is the rest."""
    return cv2.connectedComponents(foreground.astype(np.uint8), connectivity=4)[1]


def thin(labels):
    """Thins the borders between components to no width: each border pixel joins the nearest one.

    Args:
        labels: int32 `[H, W]`, components from 1 on, 0 between them.

    Returns:
        int32 `[H, W]`; a border without any component comes back as components of one pixel.
    """
    border = labels == 0
    if not border.any():
        return labels
    if border.all():
        return np.arange(1, labels.size + 1, dtype=np.int32).reshape(labels.shape)
    nearest = distance_transform_edt(border, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]


def overlap(segmentation, truth):
    """Returns the shares `p_ij` that are not 0, with the sums `s_i` and `t_j` of all.

    Args:
        segmentation: integer array, predicted cells.
        truth: integer array of the same shape, true cells; pixels of 0 are left out.
    """
    known = truth > 0
    s, t = segmentation[known].astype(np.int64), truth[known].astype(np.int64)
    both = s * (t.max(initial=0) + 1) + t
    return tuple(np.unique(ids, return_counts=True)[1] / max(1, ids.size) for ids in (both, s, t))


def v_rand(p, s, t):
    """Foreground-restricted Rand score of `overlap`'s shares; NaN without any true cell."""
    squares = np.square(s).sum() + np.square(t).sum()
    return 2 * np.square(p).sum() / squares if squares else np.nan


def v_info(p, s, t):
    """Foreground-restricted information score of `overlap`'s shares; NaN without any true cell."""
    if not p.size:
        return np.nan
    joint, of_s, of_t = (-(share * np.log(share)).sum() for share in (p, s, t))
    # One cell in both: nothing to be told apart, and nothing mistaken.
    return 2 * (of_s + of_t - joint) / (of_s + of_t) if of_s + of_t else 1.0


def slice_scores(cell_probability, truth):
    """Scores a slice at every threshold.

    Args:
        cell_probability: float32 `[H, W]`.
        truth: `[H, W]`, 1 where a cell is; everything else (0, 255) is left out.

    Returns:
        float64 `[len(THRESHOLDS), 2]`: V_rand and V_info; NaN without any true cell.
    """
    true_cells = cells(truth == 1)
    shares = [overlap(thin(cells(cell_probability > h)), true_cells) for h in THRESHOLDS]
    return np.array([(v_rand(*share), v_info(*share)) for share in shares])


def best_scores(slices):
    """Returns the best scores of a stack.

    Args:
        slices: what `slice_scores` returned for each slice; those without any true cell say
            nothing.

    Returns:
        `{"v_rand": (score, threshold), "v_info": (score, threshold)}`; NaN and None without any
        true cell.
    """
    known = [scores for scores in slices if not np.isnan(scores).any()]
    if not known:
        return dict.fromkeys(("v_rand", "v_info"), (np.nan, None))
    means = np.mean(known, axis=0)
    rows = means.argmax(axis=0)
    return {
        name: (float(means[row, column]), THRESHOLDS[row])
        for column, (name, row) in enumerate(zip(("v_rand", "v_info"), rows, strict=True))
    }
