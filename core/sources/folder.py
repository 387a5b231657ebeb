"""Own data without code: a folder with images in images/ and their masks in masks/."""

import hashlib
import itertools
import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np

from core.config import Config
from core.dataset import Dataset
from core.imaging.image import count_pages
from core.sources.palettes import find_out
from core.support.errors import UserError, few
from core.support.files import subfolder
from core.support.pairs import pair, plain_name, read_list


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
    division = "All images are taken."

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
        if not any(lists):
            paths = self.where / "train.txt", self.where / "val.txt"
            lists = [path if path.is_file() else None for path in paths]
        listing, other = lists if split == "train" else lists[::-1]
        val = subfolder(self.where, "val")
        apart = not any(lists) and subfolder(val, "images").is_dir()
        if apart and split == "val":
            self.where = val
        self.image_info, left_out = _pairs(self.where, "val/" if self.where == val else "")
        if apart and not split:
            more, also = _pairs(val, "val/")
            self.image_info, left_out = self.image_info + more, f"{left_out} {also}"
        every = self.image_info
        if split and any(lists):
            self.division = "Lists tell training and validation images apart."
            listed = _listed(every, Path(listing or other))
            rest = (number for number in range(len(every)) if number not in listed)
            self.image_info = [every[number] for number in (listed if listing else rest)]
        elif split and apart:
            self.division = f"{val} holds the validation images."
        elif split:
            self._draw(split, val_fraction)
        if strict:
            self.check_files()
        self.reading = self._find_out(every, reading)
        self.notes = f"{left_out} Masks are read as {self.reading}.".strip()

    def _draw(self, split, val_fraction):
        """Keeps the drawn part: of each image, its name and the seed say to which part it belongs.

        So an image stays where it is when others come and go. Pages of one stack stay together.
        """
        places = {info["name"]: _place(info["name"], self.seed) for info in self.image_info}
        if len(places) == 1:
            raise UserError(
                f"{self.where}: has one image (the pages of a stack stay together), and none is "
                "left to validate with. Add images."
            )
        # At least one image is in each part.
        lowest, highest = min(places.values()), max(places.values())
        limit = min(max(val_fraction, np.nextafter(lowest, 1)), highest)
        kept = {name for name, place in places.items() if place < limit}
        self.image_info = [
            info for info in self.image_info if (info["name"] in kept) == (split == "val")
        ]
        part = f"{len(kept)} of {len(places)} images are kept for validation"
        self.division = f"{part}, drawn with seed {self.seed}."
        self.drawn = True

    def _find_out(self, infos, reading):
        """Finds out from all masks how to read them; refuses a contradiction to `reading`."""
        folder = subfolder(self.where, "masks")
        how = reading, self.workers, self.remember
        own, self.by_colour = find_out(infos, self.num_classes, folder, *how)
        return own


def _place(name, seed):
    """A number from 0 to 1 that looks drawn, but depends on the name and the seed alone."""
    digest = hashlib.sha256(os.fsencode(f"{seed} {name}")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _pairs(folder, prefix):
    """The images of a folder with their masks, and sentences on what is left out."""
    parts = subfolder(folder, "images"), subfolder(folder, "masks")
    for part in parts:
        if not part.is_dir():
            raise UserError(
                f"{part}: there is no such folder. Own data needs images in images/ and masks of "
                "the same names in masks/."
            )
    infos, left_out = pair(*parts)
    pages = (_pages({**info, "name": prefix + info["name"]}) for info in infos)
    return list(itertools.chain(*pages)), left_out


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
    of_name = defaultdict(list)
    for number, info in enumerate(infos):
        file = info["image_path"].name
        for name in {info["name"], Path(info["name"]).name, unicodedata.normalize("NFC", file)}:
            of_name[name].append(number)
    found = {}
    for line in read_list(path):
        whole = unicodedata.normalize("NFC", line)
        below = re.sub(r"^(.*/)?images/", "", whole, flags=re.IGNORECASE)
        short = Path(whole).name
        tried = whole, plain_name(whole), below, plain_name(below), short, plain_name(short)
        numbers = next((of_name[name] for name in tried if name in of_name), None)
        if not numbers:
            raise UserError(f"{path}: this list names {short}, which images/ lacks. Take it out.")
        names = {infos[number]["name"]: None for number in numbers}
        if len(names) > 1:
            raise UserError(
                f"{path}: this list names {line}, which may be {few([*names])}. Name its folder."
            )
        found |= dict.fromkeys(numbers)
    return found


def open_part(config: Config, split: str | None, **options) -> FolderDataset:
    """Opens a part of own data, see `core.sources.choose.open_dataset`."""
    options |= {"lists": (config.train_list, config.val_list), "val_fraction": config.val_fraction}
    return FolderDataset(config.data, split, **options)
