"""ISBI 2012, membranes in electron microscopy, and any stack of grey slices in its layout."""

import re
from pathlib import Path

import numpy as np

from core.config import ISBI_STACKS
from core.dataset import Dataset
from core.imaging import augment
from core.imaging.elastic import elastic_transform
from core.imaging.image import count_pages
from core.support.errors import UserError
from core.support.pairs import pair

__all__ = ["ISBIDataset", "elastic_transform"]


class ISBIDataset(Dataset):
    """Slices with one channel and two classes: 0 on membranes, 1 inside cells.

    The slices are the files of `image/`, in natural order, with labels of the same names in
    `label/`; or the pages of `train-volume.tif` and `train-labels.tif`. A label is 0 on membranes
    and 255 (or 1) inside cells.

    Args:
        annotation_path: the folder.
        split: "train" or "val" for the first or the last slices, None for all.
        val_fraction: share of the slices for "val", from the end of the stack.
        strict: whether a missing label is an error at once.
        paper: whether `aug` makes the changes of the U-Net paper.
        batch_size, target_size, num_classes, aug, **kwargs: as for `Dataset`.

    Raises:
        UserError: if slices or labels are missing, or too few for the split.
    """

    def __init__(
        self,
        annotation_path: str | Path,
        batch_size: int = 4,
        target_size: tuple[int, int] = (512, 512),
        num_classes: int = 2,
        aug: bool = False,
        *,
        split: str | None = None,
        val_fraction: float = 0.2,
        strict: bool = True,
        paper: bool = False,
        **kwargs,
    ):
        changes = augment.paper if paper else augment.microscopy
        kwargs = {"batch_size": batch_size, "aug": aug, "channels": 1, "changes": changes, **kwargs}
        kwargs.setdefault("elastic", not paper)  # the paper's changes deform already
        super().__init__(target_size, num_classes, **kwargs)
        self.paper = paper
        self.annotation_path = Path(annotation_path)
        self.set_image_info()
        if strict:
            self.check_files()
        count = len(self.image_info)
        kept = max(1, round(count * val_fraction))
        if split and kept >= count:
            advice = "Add slices or make --val-fraction smaller." if count > 1 else "Add slices."
            raise UserError(
                f"{annotation_path}: of {count} slices, {kept} would be kept for validation and "
                f"none left for training. {advice}"
            )
        if split:
            self.image_info = self.image_info[-kept:] if split == "val" else self.image_info[:-kept]

    def set_image_info(self) -> None:
        """Fills `image_info` with all slices of the folder."""
        folder = self.annotation_path
        images, labels = (folder / name for name in ISBI_STACKS)
        if (folder / "image").is_dir():
            self.image_info, self.notes = pair(folder / "image", folder / "label")
            self.image_info.sort(key=lambda info: _natural(info["name"]))
        elif images.is_file() and labels.is_file():
            pages, of_labels = count_pages(images), count_pages(labels)
            if pages != of_labels:
                raise UserError(
                    f"{labels}: has {of_labels} pages, but {images.name} has {pages}. Make them "
                    "equal."
                )
            stack = {"image_path": images, "mask_path": labels}
            self.image_info = [{**stack, "page": page} for page in range(pages)]
        else:
            raise UserError(
                f"{folder}: holds neither image/ and label/ nor {' and '.join(ISBI_STACKS)}. Name "
                "another folder with --data."
            )

    def read_mask(self, index: int) -> np.ndarray:
        """Reads a label, uint8 `[H, W]`; 255 becomes class 1."""
        mask = super().read_mask(index)
        inside = mask != 0
        values = np.unique(mask[inside]).tolist()
        if values not in ([], [1], [255]):
            raise UserError(
                f"{self.image_info[index]['mask_path']}: a label must be 0 on membranes and 255 "
                f"inside cells, but has {', '.join(map(str, values[:4]))}. Threshold it."
            )
        return inside.astype(np.uint8)


def _natural(name):
    """Sorts 2 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
