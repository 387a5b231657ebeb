"""split.json: the names of a run's training and validation images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from core.support.errors import UserError
from core.support.files import write_text

if TYPE_CHECKING:  # the files of a run are looked at before Keras is needed
    from core.dataset import Dataset

SPLIT_FILE = "split.json"


def write_split(folder: Path, dataset: Dataset, validation: Dataset) -> None:
    """Writes the names of the images to train on and to validate with."""
    names = {"train": dataset.names, "val": validation.names}
    write_text(folder / SPLIT_FILE, json.dumps(names, indent=1) + "\n")


def read_split(folder: Path) -> dict[str, list[str]] | None:
    """Returns the names "train" and "val" of a run; None if its folder has none."""
    path = folder / SPLIT_FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {part: [str(name) for name in found[part]] for part in ("train", "val")}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Put it back, or add --overwrite to start again."
        ) from error
