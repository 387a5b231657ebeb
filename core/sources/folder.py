"""Own data without code: a folder with pictures in images/ and their masks in masks/."""

from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.dataset import Dataset
from core.imaging import mask as masks
from core.imaging.image import count_pages, read_mask
from core.prediction.inputs import SUFFIXES
from core.support.errors import UserError
from core.support.threads import mapped


class FolderDataset(Dataset):
    """Pictures in `images/` and their masks, of the same names but for the suffix, in `masks/`.

    The files may be of any kind that predict.py takes, TIFF stacks among them. The masks may hold
    class ids, 0 and 255 for two classes, or VOC's colours, see `core.imaging.mask`.

    Training and validation pictures are told apart by the first of these that is there: the given
    lists, which name a file a line, with or without suffix; files `train.txt` and `val.txt`; a
    folder `val/` with `images/` and `masks/` of its own; else a part is drawn by the seed. Where
    there is only one list, the other part is the rest.

    Args:
        folder: the folder.
        split: "train", "val" or None for all of it.
        num_classes: number of classes, background included.
        listing: the list of this split, a file.
        other_listing: the list of the other split; without `listing`, this one has all the rest.
        val_fraction: the share that is drawn for validation.
        reading: "ids", "black-and-white" or "colours", see `mask.understand`; None: found out
            from all masks.
        batch_size: pictures in a batch.
        aug: whether to change pictures at random.
        strict: whether a picture without a mask is an error at once.
        **kwargs: as for `Dataset`.

    Attributes:
        stated: how training and validation pictures are told apart, a sentence.

    Raises:
        UserError: if the folder does not hold what it should.
    """

    def __init__(
        self,
        folder,
        split=None,
        num_classes=2,
        *,
        listing=None,
        other_listing=None,
        val_fraction=0.2,
        reading=None,
        batch_size=4,
        aug=False,
        strict=True,
        **kwargs,
    ):
        super().__init__(num_classes=num_classes, **kwargs)
        self.batch_size = batch_size
        self.aug = aug
        self.folder = Path(folder)
        val = self.folder / "val"
        given, other = self._lists(split, listing, other_listing)
        if not (given or other) and split and (val / "images").is_dir():
            self.stated = f"{val} holds the validation pictures."
            self.folder = val if split == "val" else self.folder
            self.image_info = every = _pairs(self.folder)
        elif given or other:
            self.stated = "Lists tell training and validation pictures apart."
            every = _pairs(self.folder)
            if given:
                self.image_info = _listed(every, given)
            else:
                left_out = {_key(info) for info in _listed(every, other)}
                self.image_info = [info for info in every if _key(info) not in left_out]
        else:
            self.stated = "All pictures are taken."
            self.image_info = every = _pairs(self.folder)
            if split:
                self._draw(split, val_fraction)
        if strict:
            self.check_files()
        self.reading = self._find_out(every, reading)

    @property
    def where(self):
        """The folder, for messages."""
        return self.folder

    def _lists(self, split, listing, other_listing):
        """The lists of this split and, where there is only that, of the other one."""
        if listing or other_listing or not split:
            return listing, other_listing
        names = [f"{split}.txt", "train.txt" if split == "val" else "val.txt"]
        paths = [self.folder / name for name in names]
        return tuple(path if path.is_file() else None for path in paths)

    def _draw(self, split, val_fraction):
        """Keeps the drawn part; pages of one stack stay together."""
        files = sorted({info["image_path"] for info in self.image_info})
        kept = max(1, round(len(files) * val_fraction))
        if kept >= len(files):
            raise UserError(
                f"{self.folder}: of {len(files)} pictures, {kept} would be kept for validation and "
                "none left for training. Add pictures or make --val-fraction smaller."
            )
        order = np.random.default_rng(self.seed).permutation(len(files))
        drawn = {files[i] for i in order[:kept]}
        self.image_info = [
            info for info in self.image_info if (info["image_path"] in drawn) == (split == "val")
        ]
        self.stated = (
            f"{kept} of {len(files)} pictures are kept for validation, drawn with seed {self.seed}."
        )

    def _find_out(self, infos, reading):
        """Reads masks to find out what their values mean, or whether that is what is given."""

        def count(info):
            try:
                return masks.count_values(read_mask(info["mask_path"], info.get("page", 0)))
            except UserError:  # named when it is read as one of a pair
                return Counter()

        found = {}
        parts = mapped(count, infos, 4 * self.workers, max(1, self.workers))
        progress = tqdm(parts, "Reading masks", len(infos), leave=False, disable=None)
        for info, values in zip(infos, progress, strict=True):
            found.setdefault(info["mask_path"], Counter()).update(values)
        found = {path: values for path, values in found.items() if values}
        folder = self.folder / "masks"
        try:
            own = masks.understand(found, self.num_classes, folder) if found else "ids"
        except UserError:
            if not reading:
                raise
            return reading
        if reading and own != reading:
            raise UserError(
                f"{folder}: the masks look like {own}, but those of the training were read as "
                f"{reading}. Make them alike."
            )
        return own


def _pairs(folder):
    """The pictures of a folder and their masks, by name."""
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise UserError(
                f"{folder / part}: there is no such folder. Own data needs pictures in images/ and "
                "masks of the same names in masks/."
            )
    of_stem = {}
    for path in sorted((folder / "masks").iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            of_stem.setdefault(path.stem, []).append(path)
    infos, seen = [], {}
    for path in sorted((folder / "images").iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        found = of_stem.get(path.stem, [folder / "masks" / f"{path.stem}.png"])
        if len(found) > 1 or path.stem in seen:
            pair = found[:2] if len(found) > 1 else (seen[path.stem], path)
            raise UserError(f"{pair[0]} and {pair[1]}: which one is meant? Remove one.")
        seen[path.stem] = path
        infos += _pages({"image_path": path, "mask_path": found[0]})
    if not infos:
        raise UserError(f"{folder / 'images'}: this folder has no pictures.")
    return infos


def _pages(info):
    """A dictionary for each page of a stack, or the one given."""
    try:
        pages, of_mask = (count_pages(info[name]) for name in ("image_path", "mask_path"))
    except UserError:  # named when it is read
        return [info]
    if pages != of_mask:
        raise UserError(
            f"{info['mask_path']}: has {of_mask} pages, its picture {pages}. Make them equal."
        )
    return [info] if pages == 1 else [{**info, "page": page} for page in range(pages)]


def _listed(infos, path):
    """Those of the pictures that a list names, in its order, each once."""
    path = Path(path)
    by_name, by_stem = {}, {}
    for info in infos:
        by_name.setdefault(info["image_path"].name, []).append(info)
        by_stem.setdefault(info["image_path"].stem, []).append(info)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this list cannot be read ({error}).") from error
    names = [Path(line.strip()).name for line in lines if line.strip()]
    found = {}
    for name in names:
        matches = by_name.get(name) or by_stem.get(name)
        if not matches:
            raise UserError(f"{path}: this list names {name}, which images/ lacks. Take it out.")
        found |= {_key(info): info for info in matches}
    if not found:
        raise UserError(f"{path}: this list is empty. It needs the name of a picture a line.")
    return list(found.values())


def _key(info):
    """What tells a picture from all others."""
    return info["image_path"], info.get("page")
