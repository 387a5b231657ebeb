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

__all__ = ["ISBIDataset", "elastic_transform"]


class ISBIDataset(Dataset):
    """Slices with one channel and two classes: 1 inside a cell, 0 membrane.

    The slices are the files of `image/` with labels of the same name in `label/`, in natural order,
    or the pages of `train-volume.tif` and `train-labels.tif`. Labels are 255 (or 1) inside a cell,
    else 0.

    Args:
        annotation_path: the folder.
        batch_size: slices in a batch.
        target_size: the canvas, `(height, width)`.
        num_classes: 2.
        aug: whether to change slices at random.
        split: "train" or "val" for the first or the last slices, None for all.
        val_fraction: share of the slices, from the end of the stack, that "val" has.
        **kwargs: as for `Dataset`.

    Raises:
        UserError: if slices or labels are missing, or too few for the split.
    """

    elastic = True

    def __init__(
        self,
        annotation_path,
        batch_size=4,
        target_size=(512, 512),
        num_classes=2,
        aug=False,
        *,
        split=None,
        val_fraction=0.2,
        strict=True,
        **kwargs,
    ):
        super().__init__(target_size, num_classes, **{"channels": 1, **kwargs})
        self.batch_size = batch_size
        self.annotation_path = Path(annotation_path)
        self.aug = aug
        self.set_image_info()
        if strict:
            self.check_files()
        if split:
            self._keep(split, val_fraction)

    def set_image_info(self):
        """Fills `image_info` with all slices of the folder."""
        folder = self.annotation_path
        if (folder / "image").is_dir():
            self.image_info = _slices_of_folders(folder / "image", folder / "label")
        elif all((folder / name).is_file() for name in ISBI_STACKS):
            self.image_info = _slices_of_stacks(*(folder / name for name in ISBI_STACKS))
        else:
            raise UserError(
                f"{folder}: holds neither image/ and label/ nor {' and '.join(ISBI_STACKS)}. Name "
                "the folder that does with --data."
            )

    def read_mask(self, index):
        """Reads a label; 255 becomes class 1."""
        mask = super().read_mask(index)
        inside = mask != 0
        values = np.unique(mask[inside])
        if values.size > 1 or values.size and values[0] not in (1, 255):
            raise UserError(
                f"{self.image_info[index]['mask_path']}: a label must be 0 on membranes and 255 "
                f"inside cells, but has {', '.join(map(str, values[:4]))}. Threshold it."
            )
        return inside.astype(np.uint8)

    def augment(self, image, mask, rng):
        """Changes a slice at random, as suits microscopy."""
        return augment.microscopy(image, mask, rng)

    def _keep(self, split, val_fraction):
        count = len(self.image_info)
        kept = max(1, round(count * val_fraction))
        if kept >= count:
            raise UserError(
                f"{self.annotation_path}: of {count} slices, {kept} would be kept for validation "
                "and none left for training. Add slices or make --val-fraction smaller."
            )
        self.image_info = self.image_info[-kept:] if split == "val" else self.image_info[:-kept]


def _slices_of_folders(images, labels):
    infos = []
    for path in sorted(images.iterdir(), key=_natural):
        if path.name.startswith("."):
            continue
        infos.append({"image_path": path, "mask_path": labels / path.name})
    if not infos:
        raise UserError(f"{images}: this folder has no slices.")
    return infos


def _slices_of_stacks(images, labels):
    pages = [count_pages(path) for path in (images, labels)]
    if pages[0] != pages[1]:
        raise UserError(
            f"{labels}: has {pages[1]} pages, but {images.name} has {pages[0]}. Make them equal."
        )
    return [{"image_path": images, "mask_path": labels, "page": page} for page in range(pages[0])]


def _natural(path):
    """Sorts 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]
