"""Own data without code: a folder with images in images/ and their masks in masks/."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from core.config import Config
from core.dataset import Dataset
from core.imaging.image import count_pages
from core.prediction.inputs import SUFFIXES
from core.sources.palettes import find_out
from core.support.errors import UserError
from core.support.files import subfolder
from core.VOCdataset import read_list


class FolderDataset(Dataset):
    """Images in `images/` and masks in `masks/`, of the same names but for the suffix.

    The files may be of any kind that predict.py takes, TIFF stacks among them. Masks may hold class
    ids, 0 and 255 for two classes, or VOC's colours, see `core.imaging.mask`.

    The first of these that exists tells training and validation images apart: the given lists, with
    a file's name in each line, with or without suffix; the lists `train.txt` and `val.txt`; a
    folder `val/` with its own `images/` and `masks/`; otherwise the seed draws the validation
    images. If there is only one list, the other part is the rest.

    Args:
        folder: the folder.
        split: "train", "val" or None for all images.
        lists: the lists of the training and of the validation images, files or None.
        val_fraction: share of the images that is drawn for validation.
        reading: the only answer of `mask.understand` that is accepted; None: any.
        strict: whether a missing mask is an error at once.
        num_classes, **kwargs: as for `Dataset`.

    Raises:
        UserError: if the folder lacks something.
    """

    where = None  # the folder, for messages
    stated = "All images are taken."

    def __init__(
        self,
        folder: str | Path,
        split: str | None = None,
        num_classes: int = 2,
        *,
        lists: tuple[str | Path | None, str | Path | None] = (None, None),
        val_fraction: float = 0.2,
        reading: str | None = None,
        strict: bool = True,
        **kwargs,
    ):
        super().__init__(num_classes=num_classes, **kwargs)
        self.where = Path(folder)
        if split and not any(lists):
            paths = self.where / "train.txt", self.where / "val.txt"
            lists = [path if path.is_file() else None for path in paths]
        listing, other = lists if split == "train" else lists[::-1]
        val = subfolder(self.where, "val")
        apart = split and not any(lists) and subfolder(val, "images").is_dir()
        if apart and split == "val":
            self.where = val
        self.image_info = every = _pairs(self.where)
        if listing or other:
            self.stated = "Lists tell training and validation images apart."
            listed = _listed(every, Path(listing or other))
            rest = (number for number in range(len(every)) if number not in listed)
            self.image_info = [every[number] for number in (listed if listing else rest)]
        elif apart:
            self.stated = f"{val} holds the validation images."
        elif split:
            self._draw(split, val_fraction)
        if strict:
            self.check_files()
        self.reading = self._find_out(every, reading)

    def _draw(self, split, val_fraction):
        """Keeps the drawn part; pages of one stack stay together."""
        files = sorted({info["image_path"] for info in self.image_info})
        count, kept = len(files), max(1, round(len(files) * val_fraction))
        if kept >= count:
            raise UserError(
                f"{self.where}: of {count} images, {kept} would be kept for validation and none "
                "left for training. Add images or make --val-fraction smaller."
            )
        drawn = {files[i] for i in np.random.default_rng(self.seed).permutation(count)[:kept]}
        self.image_info = [
            info for info in self.image_info if (info["image_path"] in drawn) == (split == "val")
        ]
        part = f"{kept} of {count} images are kept for validation"
        self.stated = f"{part}, drawn with seed {self.seed}."

    def _find_out(self, infos, reading):
        """Finds out from all masks how to read them; refuses a contradiction to `reading`."""
        folder = subfolder(self.where, "masks")
        own, self.by_colour = find_out(infos, self.num_classes, folder, reading, self.workers)
        return own


def _pairs(folder):
    """The images of a folder and their masks, by name."""
    images, of_stem = defaultdict(list), defaultdict(list)  # paths by stem
    for part, found in (("images", images), ("masks", of_stem)):
        found_in = subfolder(folder, part)
        if not found_in.is_dir():
            raise UserError(
                f"{found_in}: there is no such folder. Own data needs images in images/ and "
                "masks of the same names in masks/."
            )
        for path in sorted(found_in.iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                found[path.stem].append(path)
    if not images:
        raise UserError(f"{subfolder(folder, 'images')}: this folder has no images. Add them.")
    infos = []
    for stem, paths in images.items():
        paths_of_mask = of_stem.get(stem, [subfolder(folder, "masks") / f"{stem}.png"])
        for first, *others in (paths, paths_of_mask):
            if others:
                raise UserError(f"{first} and {others[0]}: two files of one name. Remove one.")
        infos += _pages({"image_path": paths[0], "mask_path": paths_of_mask[0]})
    return infos


def _pages(info):
    """The given entry of `image_info`, or one for each page of a stack."""
    try:
        pages, of_mask = (count_pages(info[name]) for name in ("image_path", "mask_path"))
    except UserError:  # the message comes when the pair is read
        return [info]
    if pages != of_mask:
        raise UserError(
            f"{info['mask_path']}: has {of_mask} pages, its image {pages}. Make them equal."
        )
    return [info] if pages == 1 else [{**info, "page": page} for page in range(pages)]


def _listed(infos, path):
    """The numbers of the images that a list names, in its order, each once."""
    of_name, of_stem = defaultdict(list), defaultdict(list)
    for number, info in enumerate(infos):
        of_name[info["image_path"].name].append(number)
        of_stem[info["image_path"].stem].append(number)
    found = {}
    for name in (Path(line).name for line in read_list(path)):
        numbers = of_name.get(name) or of_stem.get(name)
        if not numbers:
            raise UserError(f"{path}: this list names {name}, which images/ lacks. Take it out.")
        found |= dict.fromkeys(numbers)
    return found


def open_part(config: Config, split: str | None, **options) -> FolderDataset:
    """Opens a part of own data, see `core.sources.choose.open_dataset`."""
    options |= {"lists": (config.train_list, config.val_list), "val_fraction": config.val_fraction}
    return FolderDataset(config.data, split, **options)
