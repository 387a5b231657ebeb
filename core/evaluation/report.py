"""What evaluate.py prints and writes."""

import contextlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version

import cv2
import keras
import numpy as np
import scipy

from core.config import REPORT_FILES
from core.evaluation.segments import best_scores
from core.imaging.draw import contact_sheet
from core.support.files import replacing, write_csv, write_text


def block(matrix):
    """Returns the report's first lines, in the reference's format."""
    return "\n".join(
        (
            "-" * 80,
            f"Total MIOU: {matrix.mean_iou:.4f}",
            f"Object MIOU: {matrix.object_iou:.4f}",
            f"pixel acc: {matrix.pixel_accuracy:.4f}",
            f"IOU:  {matrix.iou}",
        )
    )


def membranes(found):
    """Returns the lines of the ISBI challenge's scores, None for other data."""
    if found.segments is None:
        return None
    lines = [f"pixel error: {1 - found.matrix.pixel_accuracy:.4f}"]
    for name, (value, threshold) in best_scores(found.segments).items():
        best = "no true cells" if threshold is None else f"threshold {threshold}"
        lines.append(f"{name.replace('v', 'V', 1)}: {value:.4f} ({best})")
    return "\n".join(lines)


def table(matrix, names):
    """Returns a line of figures for each class, and what there is to say of all of them."""
    rows = _rows(matrix, names)
    width = max(len("class"), *map(len, names))
    figures = list(rows[0])[2:]
    head = "".join(f"{title.replace('iou', 'IoU'):>11}" for title in figures)
    lines = [f"{'class':<{width}}  {'truth pixels':>14}{head}"]
    for row in rows:
        shown = "".join(_cell(row[title]) for title in figures)
        lines.append(f"{row['class']:<{width}}  {row['truth_pixels']:>14,}{shown}")
    absent = ", ".join(names[i] for i in matrix.absent_classes) or "none"
    return "\n".join(
        (
            *lines,
            "",
            f"frequency-weighted IoU: {matrix.frequency_weighted_iou:.4f}",
            f"absent from truth and prediction: {absent}",
        )
    )


def write_report(folder, found, names, palette, facts):
    """Writes metrics.json, per_class.csv, confusion.csv and worst.png.

    Args:
        folder: where to.
        found: an `Evaluation`.
        names: the classes' names.
        palette: `[K, 3]`, their colours.
        facts: what else metrics.json shall say, a dictionary.
    """
    matrix = found.matrix
    rows = _rows(matrix, names)
    figures = {
        "miou": _number(matrix.mean_iou),
        "object_miou": _number(matrix.object_iou),
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
    counts = zip(names, matrix.counts.tolist(), strict=True)
    confusion = [["truth / prediction", *names], *([name, *row] for name, row in counts)]
    sheet = [
        (image, truth, prediction, f"{name}: MIoU {score:.4f}")
        for score, name, image, truth, prediction in found.worst
    ]
    with contextlib.ExitStack() as together:  # all four files or none
        files = {name: together.enter_context(replacing(folder / name)) for name in REPORT_FILES}
        metrics = {**figures, **facts, "versions": _versions()}
        write_text(files["metrics.json"], json.dumps(metrics, indent=2) + "\n")
        write_csv(files["per_class.csv"], [list(rows[0]), *(list(row.values()) for row in rows)])
        write_csv(files["confusion.csv"], confusion)
        contact_sheet(files["worst.png"], sheet, names, palette)


def _rows(matrix, names):
    """The figures of each class, a dictionary."""
    columns = {
        "class": names,
        "truth_pixels": matrix.truth_pixels.tolist(),
        **{
            title: list(map(_number, getattr(matrix, title)))
            for title in ("iou", "precision", "recall", "dice")
        },
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _versions():
    """What the figures were computed with."""
    backend = keras.config.backend()
    try:
        backend += f" {version(backend)}"
    except PackageNotFoundError:  # installed under another name, such as tensorflow-cpu
        pass
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": backend,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "scipy": scipy.__version__,
    }


def _cell(value):
    return f"{'-' if value is None else format(value, '.4f'):>11}"


def _number(value):
    """A figure as JSON knows it: NaN, which it does not know, becomes null."""
    return None if np.isnan(value) else float(value)
