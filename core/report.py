"""What evaluate.py prints and writes."""

import numpy as np

from core.files import write_csv, write_json
from core.visualize import contact_sheet


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


def table(matrix, names):
    """Returns a line for each class: its name, its pixels in the truth and its IoU."""
    width = max(map(len, names), default=0)
    lines = [f"{'class':<{width}}  {'pixels':>14}  {'IoU':>6}"]
    for name, pixels, iou in zip(names, matrix.truth_pixels, matrix.iou, strict=True):
        shown = "absent" if np.isnan(iou) else f"{iou:.4f}"
        lines.append(f"{name:<{width}}  {pixels:>14,}  {shown:>6}")
    return "\n".join(lines)


def write_report(folder, matrix, worst, config, facts):
    """Writes metrics.json, per_class.csv, confusion.csv and worst.png.

    Args:
        folder: where to.
        matrix: a `ConfusionMatrix`.
        worst: the lowest-scoring pictures, each a tuple of score, name, picture, truth and
            prediction.
        config: the `Config` whose class names and colours are used.
        facts: what else metrics.json shall say, a dictionary.
    """
    names = config.names
    rows = [
        {"class": name, "pixels": int(pixels), "iou": _number(iou)}
        for name, pixels, iou in zip(names, matrix.truth_pixels, matrix.iou, strict=True)
    ]
    figures = {
        "miou": _number(matrix.mean_iou),
        "object_miou": _number(matrix.object_iou),
        "pixel_accuracy": _number(matrix.pixel_accuracy),
        "per_class": rows,
    }
    write_json(folder / "metrics.json", {**figures, **facts})
    write_csv(folder / "per_class.csv", [list(rows[0]), *(list(row.values()) for row in rows)])
    counts = zip(names, matrix.counts.tolist(), strict=True)
    write_csv(
        folder / "confusion.csv",
        [["truth / prediction", *names], *([name, *row] for name, row in counts)],
    )
    sheet = [
        (image, truth, prediction, f"{name}: MIoU {score:.4f}")
        for score, name, image, truth, prediction in worst
    ]
    contact_sheet(folder / "worst.png", sheet, names, config.palette)


def _number(value):
    """A figure as JSON knows it: NaN, which it does not know, becomes null."""
    return None if np.isnan(value) else float(value)
