"""Own data without code: a folder with pictures in images/ and their masks in masks/."""

from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core import masks
from core.dataset import Dataset
from core.errors import UserError
from core.image import count_pages, read_mask
from core.parallel import mapped
from core.pictures import SUFFIXES


class FolderDataset(Dataset):
    """Pictures in `images/` and their masks, of the same names but for the suffix, in `masks/`.

    The files may be of any kind that predict.py takes, TIFF stacks among them. The masks may hold
    class ids, 0 and 255 for two classes, or VOC's colours, see `core.masks`.

    Training and validation pictures are told apart by the first of these that is there: the given
    lists, which name a file a line, with or without suffix; a folder `val/` with `images/` and
    `masks/` of its own; files `train.txt` and `val.txt`; else a part is drawn by the seed.

    Args:
        folder: the folder.
        split: "train", "val" or None for all of it.
        num_classes: number of classes, background included.
        listing: the list of this split, a file.
        val_fraction: the share that is drawn for validation.
        reading: one of `core.masks.READINGS`; None: found out from all masks of this split.
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
        self.folder = folder = Path(folder)
        own = folder / "val"
        listed = listing or (split and folder / f"{split}.txt")
        if not listing and (own / "images").is_dir():
            self.stated = f"{own} holds the validation pictures."
            self.image_info = _pairs(own if split == "val" else folder)
        elif listing or split and all((folder / f"{s}.txt").is_file() for s in ("train", "val")):
            self.stated = "Lists tell training and validation pictures apart."
            self.image_info = _listed(_pairs(folder), Path(listed))
        else:
            self.image_info = _pairs(folder)
            if split:
                self._draw(split, val_fraction, folder)
        if strict:
            self.check_files()
        self.reading = reading or self._find_out(folder)

    @property
    def where(self):
        """The folder, for messages."""
        return self.folder

    def _draw(self, split, val_fraction, folder):
        """Keeps the drawn part; pages of one stack stay together."""
        files = sorted({info["image_path"] for info in self.image_info})
        kept = max(1, round(len(files) * val_fraction))
        if kept >= len(files):
            raise UserError(
                f"{folder}: of {len(files)} pictures, {kept} would be kept for validation and none "
                "left for training. Add pictures or make --val-fraction smaller."
            )
        order = np.random.default_rng(self.seed).permutation(len(files))
        drawn = {files[i] for i in order[:kept]}
        self.image_info = [
            info for info in self.image_info if (info["image_path"] in drawn) == (split == "val")
        ]
        self.stated = (
            f"{kept} of {len(files)} pictures are kept for validation, drawn with seed {self.seed}."
        )

    def _find_out(self, folder):
        """Reads all masks to find out what their values mean."""

        def count(info):
            try:
                return masks.count_values(read_mask(info["mask_path"], info.get("page", 0)))
            except UserError:  # named when it is read as one of a pair
                return Counter()

        counts = Counter()
        parts = mapped(count, self.image_info, 4 * self.workers, max(1, self.workers))
        for part in tqdm(parts, "Reading masks", len(self.image_info), leave=False, disable=None):
            counts.update(part)
        return masks.understand(counts, self.num_classes, folder / "masks") if counts else "ids"


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
        pages = count_pages(info["image_path"])
    except UserError:  # named when it is read
        pages = 1
    return [info] if pages == 1 else [{**info, "page": page} for page in range(pages)]


def _listed(infos, path):
    """Those of the pictures that a list names, in its order."""
    by_name = {}
    for info in infos:
        for name in (info["image_path"].name, info["image_path"].stem):
            by_name.setdefault(name, []).append(info)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this list cannot be read ({error}).") from error
    names = [Path(line.strip()).name for line in lines if line.strip()]
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        what = f"names {unknown[0]}, which images/ lacks" if unknown else "is empty"
        raise UserError(f"{path}: this list {what}. It needs the name of a picture a line.")
    return [info for name in dict.fromkeys(names) for info in by_name[name]]
