"""What lies in a folder, for messages where no layout or no mask is found."""

import os
from collections import Counter
from pathlib import Path

from core.support.pairs import images_in


def seen_in(folder: Path) -> str:
    """Says which folders in and below a folder hold images, and how many; "" if there are none."""
    found, others = images_in(folder)
    counts = Counter(path.parent for paths in found.values() for path in paths)
    shown = [f"{os.path.relpath(place, folder)}/ ({n})" for place, n in sorted(counts.items())]
    if not shown:
        return ""
    where = f"{len(shown)} folders, such as {shown[0]}" if shown[12:] else ", ".join(shown)
    return f"Images are in {where}. {annotations(found, others)}"


def annotations(found: dict, others: list[Path]) -> str:
    """Says what makes masks of files that seem to be annotations; "" if there are none.

    Args:
        found: the images by name, see `images_in`.
        others: the files that are no images.
    """
    names = {Path(name).name for name in found}
    files = [path for path in others if path.suffix.lower() == ".json" or path.stem in names]
    if not files:
        return ""
    (kind, count), *_ = Counter(path.suffix for path in files).most_common(1)
    first = next(path for path in files if path.suffix == kind)
    return (
        f"Annotations seem to be in {count} {kind} file{'s' * (count > 1)}, such as {first.name}. "
        "Masks are images: python -m tools.polygons makes them of .json files of LabelMe and COCO. "
    )
