import numpy as np

from core.evaluation.metrics import ConfusionMatrix
from core.evaluation.samples import caption

NAMES = ("background", "cat", "dog", "cow")


def matrix(counts):
    found = ConfusionMatrix(4)
    found.counts[:] = counts
    return found


def test_a_caption_has_the_score():
    """0.9 of background and 0.8 of cat."""
    counts = np.zeros((4, 4), int)
    counts[:2, :2] = [[900, 50], [50, 350]]
    own = matrix(counts)
    assert caption("a", own, NAMES) == f"a: MIoU {(900 / 1000 + 350 / 450) / 2:.4f}"


def test_a_caption_says_if_a_few_pixels_of_an_absent_class_lower_the_score():
    """Of 1000 pixels, 4 are predicted as dog and 5 as cow, which the image does not show."""
    counts = np.zeros((4, 4), int)
    counts[0], counts[1, 1] = (491, 0, 4, 5), 500
    both = (
        f"a: MIoU {(0.982 + 1) / 4:.4f} ({(0.982 + 1) / 2:.4f} without 9 false pixels of dog, cow)"
    )
    assert caption("a", matrix(counts), NAMES) == both
    counts[0] = 480, 0, 4, 16  # 16 of 1000 are not few
    wanted = f"a: MIoU {1.96 / 4:.4f} ({1.96 / 3:.4f} without 4 false pixels of dog)"
    assert caption("a", matrix(counts), NAMES) == wanted
    counts[2, 2] = 1  # the image has a dog
    assert "without" not in caption("a", matrix(counts), NAMES)


def test_a_caption_of_an_image_without_truth():
    assert caption("a", matrix(0), NAMES) == "a: no pixel of a known class"
