"""What evaluate.py prints and writes."""

import contextlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import keras
import numpy as np
import scipy

from core.config import REPORT_FILES
from core.evaluation.metrics import ConfusionMatrix
from core.evaluation.samples import caption
from core.evaluation.score import Evaluation
from core.evaluation.segments import best_scores
from core.imaging.draw import write_image
from core.prediction.charts import draw_confusion
from core.prediction.sheets import compare
from core.support.files import replacing, write_csv, write_text

_FIGURES = ("iou", "precision", "recall", "dice")  # of each class


def block(matrix: ConfusionMatrix, names: tuple[str, ...]) -> str:
    """Returns the first lines, in the format of https://github.com/verages/UNet-keras."""
    return (
        f"{'-' * 80}\nTotal MIOU: {matrix.mean_iou:.4f}\n"
        f"Object MIOU: {matrix.object_iou(names):.4f}\n"
        f"pixel acc: {matrix.pixel_accuracy:.4f}\nIOU:  {matrix.iou}"
    )


def membranes(found: Evaluation) -> str | None:
    """Returns the lines of the ISBI challenge's scores, None for other data."""
    if found.segments is None:
        return None
    lines = [f"pixel error: {1 - found.matrix.pixel_accuracy:.4f}"]
    for name, (value, threshold) in best_scores(found.segments).items():
        best = "no true cells" if threshold is None else f"threshold {threshold}"
        lines.append(f"{name.replace('v', 'V', 1)}: {value:.4f} ({best})")
    return "\n".join(lines)


def table(matrix: ConfusionMatrix, names: tuple[str, ...]) -> str:
    """Returns a line of figures for each class, and two lines about all classes."""
    rows = _rows(matrix, names)
    width = max(len("class"), *map(len, names))
    head = "".join(f"{title.replace('iou', 'IoU'):>11}" for title in _FIGURES)
    lines = [f"{'class':<{width}}  {'truth pixels':>14}{head}"]
    for name, pixels, *figures in map(dict.values, rows):
        shown = "".join(f"{'-' if value is None else f'{value:.4f}':>11}" for value in figures)
        lines.append(f"{name:<{width}}  {pixels:>14,}{shown}")
    absent = ", ".join(names[i] for i in matrix.absent_classes) or "none"
    lines += ["", f"frequency-weighted IoU: {matrix.frequency_weighted_iou:.4f}"]
    return "\n".join([*lines, f"absent from truth and prediction: {absent}"])


def write_report(
    folder: Path, found: Evaluation, names: tuple[str, ...], palette: tuple, facts: dict
) -> None:
    """Writes metrics.json, per_class.csv, confusion.csv, confusion.png and worst.png, or none.

    The palette has the classes' colours, `[K, 3]`; `facts` are further entries of metrics.json.
    """
    matrix = found.matrix
    rows = _rows(matrix, names)
    figures = {
        "miou": _number(matrix.mean_iou),
        "object_miou": _number(matrix.object_iou(names)),
        "pixel_accuracy": _number(matrix.pixel_accuracy),
        "frequency_weighted_iou": _number(matrix.frequency_weighted_iou),
        "absent_classes": [names[i] for i in matrix.absent_classes],
        "per_class": rows,
        "confusion": matrix.counts.tolist(),
    }
    if found.segments is not None:
        figures["pixel_error"] = 1 - figures["pixel_accuracy"]
        for name, (value, threshold) in best_scores(found.segments).items():
            figures |= {name: _number(value), f"{name}_threshold": threshold}
    figures |= facts | {"versions": _versions()}
    confusion = np.column_stack((names, matrix.counts)).tolist()
    worst = [(*arrays, caption(name, own, names)) for own, name, *arrays in found.worst]
    with contextlib.ExitStack() as together:
        files = {name: together.enter_context(replacing(folder / name)) for name in REPORT_FILES}
        write_text(files["metrics.json"], json.dumps(figures, indent=2) + "\n")
        write_csv(files["per_class.csv"], [list(rows[0]), *map(dict.values, rows)])
        write_csv(files["confusion.csv"], [["truth / prediction", *names], *confusion])
        write_image(files["confusion.png"], draw_confusion(matrix.counts, names))
        write_image(files["worst.png"], compare(worst, names, palette))


def _rows(matrix, names):
    """The figures of each class, a dictionary."""
    columns = {"class": names, "truth_pixels": matrix.truth_pixels.tolist()}
    columns |= {title: map(_number, getattr(matrix, title)) for title in _FIGURES}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _versions():
    """The versions of the libraries that the figures were computed with."""
    backend = keras.config.backend()
    with contextlib.suppress(PackageNotFoundError):  # of tensorflow-cpu, for one
        backend += f" {version(backend)}"
    versions = {"python": platform.python_version(), "backend": backend, "opencv": cv2.__version__}
    return versions | {module.__name__: module.__version__ for module in (keras, np, scipy)}


def _number(value):
    """A figure for JSON, which has null in place of NaN."""
    return None if np.isnan(value) else float(value)
