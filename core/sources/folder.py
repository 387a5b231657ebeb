"""Own data without code: folders with images and their masks."""

import contextlib
import hashlib
import itertools
import os
import re
import shlex
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np

from core.config import ISBI_STACKS, Config, default_names
from core.dataset import Dataset
from core.imaging.image import by_page
from core.sources.own.classes import find_table
from core.sources.own.layouts import ASK, IMAGES, find, inside, seen_in
from core.sources.own.palettes import find_out, name_of
from core.support.errors import UserError, few
from core.support.files import read_list
from core.support.pairs import SUFFIXES, plain_name, say

_TEST = re.compile(r"(?i)(?<![^\W\d_])test(?:ing|s|a|b|data|set)?(?![^\W\d_])")


class FolderDataset(Dataset):
    """Images and masks in one of the layouts of `core.sources.own.layouts`, paired by name.

    The files may be of any kind that predict.py takes, TIFF stacks among them. What the values of
    masks mean is said by a class table or found out, see `core.sources.own.palettes`.

    The first of these that exists tells training and validation images apart: the given lists, with
    a file's name in each line, with or without suffix; folders for both parts; the lists
    `train.txt` and `val.txt`, unless `images` is given; a folder for validation; otherwise the seed
    draws the validation images. If there is only one list, the other part is the rest. A folder for
    tests is left out.

    Args:
        folder: the folder.
        split: "train", "val" or None for all images.
        lists: the lists of the training and of the validation images, files or None.
        val_fraction: share of the images that is drawn for validation.
        class_names: the classes; empty: `num_classes` of them without names, or if that is 0 those
            of the class table or the masks.
        class_table: a file, see `core.sources.own.classes`; None: the one in the folder, if any.
        reading: how the masks of the training are read, which holds here, too; None: found out.
        strict: whether a missing mask is an error at once.
        images, masks: their folders, where the layout leaves them open.
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
        class_names: tuple = (),
        class_table: str | Path | None = None,
        reading: str | tuple | None = None,
        strict: bool = True,
        images: str | Path | None = None,
        masks: str | Path | None = None,
        **kwargs,
    ):
        super().__init__(num_classes=num_classes, **kwargs)
        self.where, parts = find(Path(folder), images, masks)
        if not parts:
            refuse(self.where)
        homes = dict.fromkeys((Path(folder), self.where))
        main, val = parts.get("") or parts["train"], parts.get("val")
        told = [f"{val.images} has no masks, so left out."] if val and not val.masks else []
        val = None if told else val
        places = dict.fromkeys((*homes, main.images))
        tables = (find_table(place, class_table) for place in places if not reading)
        table = next(filter(None, tables), None)
        if not (any(lists) or val and "train" in parts):
            homes = (*homes, self.where / "ImageSets" / "Segmentation")
            both = ((home / "train.txt", home / "val.txt") for home in homes)
            files = ([path if path.is_file() else None for path in paths] for paths in both)
            lists = next(filter(any, files), lists)
            if images and any(lists):
                there, lists = few([*filter(None, lists)]), (None, None)
                told.append(f"{there}: not used with --images, but with --train-list, --val-list.")
        listing, other = lists if split == "train" else lists[::-1]
        taken = [("", main), ("val/", val)][: 1 + bool(val)]
        if any(lists) and "" in parts:
            taken = taken[:1]
        elif split and val and not any(lists):
            taken = [taken[split == "val"]]
        apart = val and (val.images.parent if val.images.parent != main.images.parent else None)
        self.where = apart if taken[0][0] and apart else self.where
        found = [_pairs(part, prefix, Path(folder)) for prefix, part in taken]
        every = [info for infos, _ in found for info in infos]
        told = [sentence for _, sentence in found] + told
        self.image_info = every
        if "test" in parts:
            told.append(_left_out(parts["test"]))
        every_name = dict.fromkeys(info["name"] for info in every)
        tests = [name for name in every_name if _TEST.search(name)]
        inside_such = [name for name in tests if _TEST.search(os.path.dirname(name))]
        if inside_such:
            told.append(f"Taken, though in folders for tests: {few(inside_such)}. {ASK}")
        elif 0 < len(tests) < len(every_name) and not any(lists):
            told.append(
                f"Taken, though named like tests: {few(tests)}. List the training images with "
                "--train-list FILE and the validation images with --val-list FILE."
            )
        if not images and main.images not in (main.masks, *main.masks.parents):
            told.append(_unused(main.images, {path for part in parts.values() for path in part}))
        if split and any(lists):
            self.division = "Lists tell training and validation images apart."
            named = _listed(every, Path(listing or other))
            rest = (number for number in range(len(every)) if number not in named)
            self.image_info = [every[number] for number in (named if listing else rest)]
        elif split and val:
            self.division = f"{apart or val.images} holds the validation images."
        elif split:
            self._draw(split, val_fraction)
        if strict:
            self.check_files()
        names = class_names or default_names(num_classes)
        where = taken[0][1].masks or taken[0][1].images
        told = [self._find_out(every, where, names, reading, table), *told]
        self.notes = " ".join(filter(None, told))

    def _draw(self, split, val_fraction):
        """Keeps the drawn part: of each image, its name and the seed say to which part it belongs.

        So an image hardly moves when others come and go. Pages of one stack stay together.
        """
        places = {info["name"]: _place(info["name"], self.seed) for info in self.image_info}
        if len(places) == 1:
            raise UserError(
                f"{self.where}: has one image (the pages of a stack stay together), and none is "
                "left to validate with. Add images."
            )
        # Of few images, chance may take too few; and at least one image is in each part.
        ordered = sorted(places.values())
        least = ordered[max(1, round(0.75 * val_fraction * len(ordered))) - 1]
        limit = min(max(val_fraction, np.nextafter(least, 1)), ordered[-1])
        kept = {name for name, place in places.items() if place < limit}
        self.image_info = [i for i in self.image_info if (i["name"] in kept) == (split == "val")]
        part = f"{len(kept)} of {len(places)} images are kept for validation"
        self.division = f"{part}, drawn with seed {self.seed}."
        self.drawn = True

    def _find_out(self, infos, folder, names, reading, table):
        """Finds out from all masks how to read them, and says it."""
        found = find_out(infos, names, folder, reading, table, self.workers, self.remember)
        self.reading, self.by_colour, self.class_names, self.palette, notes = found
        self.num_classes = len(found.names)
        by = f" by {table.path}" if table else ""
        return f"Masks are read as {name_of(found.reading)}{by}. {notes}".strip()


def _place(name, seed):
    """A number from 0 to 1 that looks drawn, but depends on the name and the seed alone."""
    digest = hashlib.sha256(os.fsencode(f"{seed} {name}")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def refuse(folder: Path):
    """Raises a UserError that says what lacks in a folder of no known layout."""
    there = folder.is_dir() and any(
        re.fullmatch(IMAGES, path.name, re.IGNORECASE) for path in inside(folder)
    )
    raise UserError(
        f"{folder / ('masks' if there else 'images')}: there is no such folder, and {folder} is "
        f"laid out in no way that is known. {seen_in(folder)}If images and masks are there, name "
        "their folders with --images DIR --masks DIR, or call them images/ and masks/. Slices of a "
        f"stack lie in image/ and label/, or in {' and '.join(ISBI_STACKS)}, with --dataset isbi. "
        "docs/own-data.md has all layouts."
    )


def _unused(images, used):
    """Names folders beside that of the images that have as many of them and are in no part."""
    counts = {}
    for path in inside(images.parent):
        with contextlib.suppress(OSError):  # it may not be for us to read
            counts[path] = sum(file.suffix.lower() in SUFFIXES for file in path.iterdir())
    names = [
        f"{p.name}/" for p, count in counts.items() if count == counts.get(images) and p not in used
    ]
    return f"Not used, with as many files: {few(names)}." if names else ""


def _left_out(test):
    """A sentence on a folder for tests."""
    if not test.masks:
        return f"{test.images} is for tests, so left out: it has no masks of its own."
    flags = shlex.join(["--images", str(test.images), "--masks", str(test.masks)])
    return f"{test.images} is for tests, so left out: evaluate.py {flags} scores a model on it."


def _pairs(part, prefix, base):
    """The images of a part with their masks, and sentences on these and on what is left out."""
    infos, rule, left_out = part.pairs()
    said = say(infos, rule, *part, base)
    pages = (by_page({**info, "name": prefix + info["name"]}) for info in infos)
    return list(itertools.chain(*pages)), f"{said} {left_out}".strip()


def _listed(infos, path):
    """The numbers of the images that a list names, in its order, each once."""
    of_name = defaultdict(list)
    for number, info in enumerate(infos):
        file = info["image_path"].name
        for name in {info["name"], Path(info["name"]).name, unicodedata.normalize("NFC", file)}:
            of_name[name].append(number)
    found = {}
    for line in read_list(path):
        line = unicodedata.normalize("NFC", line)
        parts = (Path(start).parts for start in _starts(line))
        below = ("/".join(way[first:]) for way in parts for first in range(len(way)))
        tried = (name for path in below for name in (path, plain_name(path)))
        numbers = next((of_name[name] for name in tried if name in of_name), None)
        if not numbers:
            raise UserError(
                f"{path}: this list names {Path(line).name}, which images/ lacks. Take it out."
            )
        names = {infos[number]["name"]: None for number in numbers}
        if len(names) > 1:
            raise UserError(
                f"{path}: this list names {line}, which may be {few([*names])}. Name its folder."
            )
        found |= dict.fromkeys(numbers)
    return found


def _starts(line):
    """What may be a name: a line, and what is left of it without numbers or a mask's path."""
    yield line
    while len(parts := line.rsplit(maxsplit=1)) == 2:
        line, last = parts
        file = "." in last and Path(line).suffix.lower() in SUFFIXES
        if not (file or "/" in last or re.fullmatch(r"-?\d+(\.\d+)?", last)):
            break
        yield line


def open_part(config: Config, split: str | None, **options) -> FolderDataset:
    """Opens a part of own data, see `core.sources.choose.open_dataset`."""
    alike = "val_fraction", "class_table", "images", "masks"
    options |= {name: getattr(config, name) for name in alike}
    options |= {"lists": (config.train_list, config.val_list), "class_names": config.names}
    return FolderDataset(config.data, split, **options)
