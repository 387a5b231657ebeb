"""PASCAL VOC 2012, and any data in its layout."""

from pathlib import Path

import numpy as np

from core.config import IGNORE
from core.dataset import Dataset
from core.support.errors import UserError

MASK_FOLDERS = {"SegmentationAug": "SegmentationClassAug", "Segmentation": "SegmentationClass"}


class VOCDataset(Dataset):
    """Pictures of a list in VOC's layout.

    `ROOT/ImageSets/Segmentation/LIST.txt` names a picture a line; the pictures are
    `ROOT/JPEGImages/ID.jpg` and the masks `ROOT/SegmentationClass/ID.png`. The masks of a list in
    `ImageSets/SegmentationAug/` are in `SegmentationClassAug/`. A list that lies elsewhere needs
    `root` and takes the first of these mask folders that is there.

    Args:
        annotation_path: the list.
        batch_size: pictures in a batch.
        target_size: the canvas, `(height, width)`.
        num_classes: number of classes, background included.
        aug: whether to change pictures at random.
        root: the folder that holds JPEGImages/; None: two folders above the list's own.
        class_ids: ids to learn: they are renumbered from 1 in this order, 0 stays and all others
            become 255. None: all ids as they are.
        strict: whether a picture or a mask that is not there is an error at once.
        **kwargs: as for `Dataset`.

    Raises:
        UserError: if the list, a picture or a mask is not there.
    """

    def __init__(
        self,
        annotation_path,
        batch_size=4,
        target_size=(320, 320),
        num_classes=21,
        aug=False,
        *,
        root=None,
        class_ids=None,
        strict=True,
        **kwargs,
    ):
        super().__init__(target_size, num_classes, **kwargs)
        self.batch_size = batch_size
        self.annotation_path = self.listed_in = Path(annotation_path)
        self.aug = aug
        self.root = Path(root) if root else self.annotation_path.resolve().parents[2]
        self.renumber = _renumbering(class_ids)
        self.read_voc_annotation()
        self.set_image_info()
        if strict:
            self.check_files()

    def read_voc_annotation(self):
        """Reads the list into `annotation`, the pictures' ids."""
        try:
            lines = self.annotation_path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self.annotation_path}: this list cannot be read ({error}). Name the folder with "
                "--data, or the lists with --train-list and --val-list."
            ) from error
        self.annotation = [line.strip() for line in lines if line.strip()]
        if not self.annotation:
            raise UserError(
                f"{self.annotation_path}: this list is empty; it needs a picture's id a line."
            )

    def set_image_info(self):
        """Fills `image_info` with the paths of all pictures and masks."""
        masks = self.root / self._mask_folder()
        self.image_info = [
            {
                "image_path": self.root / "JPEGImages" / f"{image_id}.jpg",
                "mask_path": masks / f"{image_id}.png",
            }
            for image_id in self.annotation
        ]

    def read_mask(self, index):
        """Reads a mask, renumbered where only some classes are learnt."""
        mask = super().read_mask(index)
        return mask if self.renumber is None else self.renumber[mask]

    def _mask_folder(self):
        named = MASK_FOLDERS.get(self.annotation_path.resolve().parent.name)
        if named:
            return named
        there = [folder for folder in MASK_FOLDERS.values() if (self.root / folder).is_dir()]
        return there[0] if there else MASK_FOLDERS["Segmentation"]


def _renumbering(class_ids):
    """A table from the ids in the files to the ids that are learnt, uint8 `[256]`."""
    if class_ids is None:
        return None
    table = np.full(256, IGNORE, np.uint8)
    table[[0, *class_ids]] = np.arange(1 + len(class_ids))
    return table
