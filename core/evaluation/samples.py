"""Images with their truth, their prediction and their score: samples.png and worst.png."""

from pathlib import Path

import numpy as np

from core.evaluation.metrics import ConfusionMatrix, judge
from core.imaging.draw import write_image
from core.prediction.model_file import load_model
from core.prediction.predict import predict
from core.prediction.sheets import compare

FEW = 0.01  # a smaller share of an image's pixels is few


def caption(name: str, matrix: ConfusionMatrix, names: tuple[str, ...]) -> str:
    """Returns an image's name and MIoU; also without classes that are but a few false pixels.

    Each of these has an IoU of 0, however few its pixels are, and counts as much as others.
    """
    if np.isnan(matrix.mean_iou):
        return f"{name}: no pixel of a known class"
    pixels = np.where(matrix.truth_pixels == 0, matrix.predicted_pixels, 0)
    few = (pixels > 0) & (pixels < FEW * matrix.counts.sum())
    text = f"{name}: MIoU {matrix.mean_iou:.4f}"
    if not few.any():
        return text
    others = np.nanmean(matrix.iou[~few])
    which = ", ".join(names[i] for i in np.flatnonzero(few))
    return f"{text} ({others:.4f} without {pixels[few].sum():,} false pixels of {which})"


def draw_samples(path: Path, weights: Path, dataset, count: int = 8) -> None:
    """Draws up to `count` images from all over a data set, see `compare`, as a PNG.

    The model is in the file `weights`, and tells the classes of the `dataset` apart.
    """
    model, config, found = load_model(weights)
    size = len(dataset.image_info)
    indices = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
    images, masks = zip(*map(dataset.load, indices), strict=True)
    answers = predict(model, images, config, tile=config.tile, batch_size=1)
    rows = []
    for index, image, mask, answer in zip(indices, images, masks, answers, strict=True):
        matrix = ConfusionMatrix(config.num_classes)
        truth, prediction = judge(answer, mask, "voc")
        matrix.add(truth, prediction)
        rows.append((image, truth, prediction, caption(dataset.name(index), matrix, config.names)))
    write_image(path, compare(rows, config.names, found.palette))
