"""PASCAL VOC 2012, and any data in its layout."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.config import IGNORE
from core.dataset import Dataset
from core.support.files import read_list
from core.support.pairs import images_in, only

MASK_FOLDERS = {"SegmentationAug": "SegmentationClassAug", "Segmentation": "SegmentationClass"}


class VOCDataset(Dataset):
    """The images of a list in VOC's layout.

    `ROOT/ImageSets/Segmentation/LIST.txt` has an image's id in each line. The image is
    `ROOT/JPEGImages/ID.jpg`, its mask `ROOT/SegmentationClass/ID.png`; other kinds of images, such
    as ID.JPEG, are taken where these are not there. For a list in
    `ImageSets/SegmentationAug/`, the masks are in `SegmentationClassAug/`. A list elsewhere needs
    `root` and takes the first of these mask folders that exists.

    Args:
        annotation_path: the list.
        root: the folder with JPEGImages/; None: two folders above the list's own.
        class_ids: class ids to learn. They are renumbered from 1 in this order; 0 stays, all others
            become 255. None: all ids as they are.
        strict: whether a missing image or mask is an error at once.
        batch_size, target_size, num_classes, aug, **kwargs: as for `Dataset`.

    Raises:
        UserError: if the list, an image or a mask is missing.
    """

    counted_by = (*Dataset.counted_by, "renumber")

    def __init__(
        self,
        annotation_path: str | Path,
        batch_size: int = 4,
        target_size: tuple[int, int] = (320, 320),
        num_classes: int = 21,
        aug: bool = False,
        *,
        root: str | Path | None = None,
        class_ids: Sequence[int] | None = None,
        strict: bool = True,
        **kwargs,
    ):
        super().__init__(target_size, num_classes, batch_size=batch_size, aug=aug, **kwargs)
        self.annotation_path = self.listed_in = Path(annotation_path)
        self.root = Path(root) if root else self.annotation_path.resolve().parents[2]
        self.renumber = None  # from ids in the files to learnt ids, uint8 [256]
        if class_ids is not None:
            self.renumber = np.full(256, IGNORE, np.uint8)
            self.renumber[[0, *class_ids]] = np.arange(1 + len(class_ids))
        self.read_voc_annotation()
        self.set_image_info()
        if strict:
            self.check_files()

    def read_voc_annotation(self) -> None:
        """Reads the list into `annotation`, the images' ids."""
        self.annotation = read_list(self.annotation_path)

    def set_image_info(self) -> None:
        """Fills `image_info` with the paths of all images and masks."""
        named = MASK_FOLDERS.get(self.annotation_path.resolve().parent.name)
        there = (folder for folder in MASK_FOLDERS.values() if (self.root / folder).is_dir())
        masks = named or next(there, MASK_FOLDERS["Segmentation"])
        images = self._found(self.root / "JPEGImages", ".jpg")
        masks = self._found(self.root / masks, ".png")
        self.image_info = [
            {"image_path": image, "mask_path": mask} | ({"name": name} if "/" in name else {})
            for name, image, mask in zip(self.annotation, images, masks, strict=True)
        ]

    def _found(self, folder, suffix):
        """Yields the file of each listed image, those with the suffix first."""
        images = None
        for name in self.annotation:
            file = folder / f"{name}{suffix}"
            if not file.is_file():
                images = images_in(folder)[0] if images is None else images
                file = only(images.get(unicodedata.normalize("NFC", name), [file]))
            yield file

    def read_mask(self, index: int) -> np.ndarray:
        """Reads a mask, uint8 `[H, W]`, renumbered if only some classes are learnt."""
        mask = super().read_mask(index)
        return mask if self.renumber is None else self.renumber[mask]
