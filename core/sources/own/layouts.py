"""The layouts of folders that are known, in one table, and the data set that is chosen by it."""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from core.support.errors import UserError, few
from core.support.pairs import MASKS, SUFFIXES, images_in, match, prefer_first, told_apart

IMAGES = "(?:images?(?:_png|_jpg|_2)?|imgs?|img_dir|originals?|leftimg8bit)"
SPLIT = r"(?P<split>train|val|test)(?:ing|id|idation)?(?:[_-]?(?:data|set))?(?:\d{4})?"
VOC = ("JPEGImages", "SegmentationClass(?:Aug|PNG)?")  # without its lists
LABELS = f"(?:{MASKS}|labs?|ann_dir|gtfine|semantic)"  # some name folders alone
PART = f"{SPLIT}(?:[_-]?{IMAGES})?"
# Regular expressions for the folders of images and of masks below the data's folder, in any case.
# Rows before others hold. Where `IMAGES` are divided further, see `_divided`.
LAYOUTS = (
    (IMAGES, f"(?:{LABELS}|{VOC[1]})"),
    (f"{SPLIT}/{IMAGES}", f"{SPLIT}/{LABELS}"),
    (PART, f"{SPLIT}[_-]?(?:{LABELS}|annot)"),
    (PART, f"{LABELS}/{SPLIT}"),
    VOC,
    # Those from here on hold where those before find no training images.
    (SPLIT, SPLIT),  # masks lie beside their images, and names tell them apart
    (PART, LABELS),  # the masks of all parts lie in one folder
    (SPLIT, f"{SPLIT}/{LABELS}"),  # the masks' folder lies among the images
    ("", LABELS),
    ("", ""),
)
LATER = LAYOUTS[LAYOUTS.index(VOC) + 1 :]
TABLES = (  # the first one counts
    "class_dict.csv", "classes.csv", "classes.txt", "labelmap.txt", "_classes.csv",
    "label_colors.txt",
)  # fmt: skip
_KINDS = ("_labelTrainIds", "_labelIds")  # the best of Cityscapes' four masks of an image
ASK = "Name the folders with --images DIR --masks DIR."


class Part(NamedTuple):
    """The folders of images and of their masks; `masks` is None where these are not there."""

    images: Path
    masks: Path | None

    def pairs(self) -> tuple:
        """Returns what `core.support.pairs.match` does."""
        if self.images == self.masks:
            return match(*told_apart(images_in(self.images)[0]), *self, [])
        found, others = images_in(self.images, self.masks)
        masks, strange = images_in(self.masks)
        for kind in _KINDS:
            alike = {name: paths for name, paths in masks.items() if name.endswith(kind)}
            masks = alike if len(alike) >= len(found) > 0 else masks
        if not masks and (advice := _annotations(found, strange)):
            raise UserError(f"{self.masks}: holds no masks. {advice.strip()}")
        return match(found, masks, *self, others + strange)


def find(folder: Path, images: str | None = None, masks: str | None = None) -> tuple[Path, dict]:
    """Finds the parts of own data: "train", "val" and "test", or "" for what nothing divides.

    Args:
        folder: the data's folder.
        images: the folder of the images, None: found by the table.
        masks: the folder of the masks, None: found, too.

    Returns:
        The folder that holds them, the given one or one in it, as archives unpack; and each `Part`
        by its name, none if no layout fits.

    Raises:
        UserError: if it can be understood in several ways, or a folder is missing.
    """
    parts = {}
    if images:
        parts = _divided(Path(images), Path(masks) if masks else _beside(Path(images)))
    elif folder.is_dir():
        folder, parts = _found(folder)
    if parts and not parts.keys() & {"", "train"}:
        others = few([f"{part.images}/" for part in parts.values()])
        lacking = "but no known folder of training images"
        raise UserError(f"{folder}: has {others}, {lacking}. {seen_in(folder)}{ASK}")
    train, val, test = (parts.get(name) for name in ("train", "val", "test"))
    for name, part in parts.items():
        sure = name == "val" and train and train.images == train.masks  # theirs would lie so, too
        if name != "test" and not part.masks and not sure:
            raise UserError(f"{part.images}: no folder is known to have masks of these. {ASK}")
    if test and test.masks and _kind(test) != _kind(train or parts[""]):  # of the field of view
        parts["test"] = test._replace(masks=None)
    if train and val and train.masks == val.masks:
        if both := sorted({*images_in(train.images)[0]} & {*images_in(val.images)[0]}):
            raise UserError(f"{val.masks}: {few(both)} may be of train/ or val/. Divide it, too.")
    return folder, parts


def _kind(part):
    """What the folder of masks is called, but for the part's name in it."""
    return re.sub(SPLIT, "", part.masks.name.lower())


def seen_in(folder: Path) -> str:
    """Says which folders in and below a folder hold images, and how many; "" if there are none."""
    found, others = images_in(folder)
    counts = Counter(path.parent for paths in found.values() for path in paths)
    shown = [f"{os.path.relpath(place, folder)}/ ({n})" for place, n in sorted(counts.items())]
    where = f"{len(shown)} folders, such as {shown[0]}" if shown[12:] else ", ".join(shown)
    return f"Images are in {where}. {_annotations(found, others)}" if shown else ""


def _annotations(found, others):
    """Says what makes masks of files that seem to be annotations; "" if there are none."""
    names = {Path(name).name for name in found}
    files = [path for path in others if path.suffix.lower() == ".json" or path.stem in names]
    if not files:
        return ""
    (kind, count), *_ = Counter(path.suffix for path in files).most_common(1)
    first = next(path for path in files if path.suffix == kind)
    return (
        f"Annotations seem to be in {count} {kind} file{'s' * (count > 1)}, such as {first.name}. "
        "Masks are images: python -m tools.polygons makes them of .json files of LabelMe and COCO. "
    )


def _found(folder):
    """The folder that rows of the table fit, this one or one in it, and its parts."""
    below, known = inside(folder), [row for row in LAYOUTS if row != VOC]
    if parts := _parts(folder, LAYOUTS[:-1]):
        return folder, parts
    fits = [(home, parts) for home in below if (parts := _parts(home, known[:-1]))]
    flat = not fits or len(fits) == 1 < len(below)  # several places go before names in one folder
    if flat and (parts := _parts(folder, LAYOUTS[-1:])):
        return folder, parts
    fits = fits or [(home, parts) for home in below if (parts := _parts(home, known))]
    if len(fits) > 1:
        names = few([f"{home.name}/" for home, _ in fits])
        what = f"the data may be in {names}. Name one of them with --data. Or n{ASK[1:]}"
        if all(len(images_in(part.images)[0]) == 1 for _, own in fits for part in own.values()):
            what = (
                f"each image has a folder: {names}. Put the images into images/, and one mask of "
                "each, with all of its objects, into masks/."
            )
        raise UserError(f"{folder}: {what} docs/own-data.md has a program that joins them.")
    return fits[0] if fits else (folder, {})


def _parts(folder, rows):
    """The parts of a folder by rows of the table."""
    parts, below = {}, _folders(folder)
    for row in rows:
        later = row in LATER
        if later and row[0] and not parts.keys() & {"", "train"}:
            parts = {}  # what the rows before found has no masks
        found = {} if later and parts else _row(folder, below, *row)
        if {"", "train"} <= {*parts, *found}:
            both = [(parts | found)[name].images for name in ("", "train")]
            raise UserError(f"{folder}: images may be in {few(both)}. {ASK}")
        parts = parts | found | {name: part for name, part in parts.items() if part.masks}
    return parts


def _folders(folder):
    """The folder and those in it, two levels deep, by their names as seen from it."""
    first = inside(folder)
    second = [path for parent in first for path in inside(parent)]
    return {path.relative_to(folder).as_posix(): path for path in first + second} | {"": folder}


def inside(folder: Path) -> list[Path]:
    """Returns the folders in a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    return [folder / name for name in names]


def _row(folder, below, *patterns):
    """The parts that fit a row of the table."""
    places = defaultdict(list), defaultdict(list)
    for pattern, found in zip(patterns, places, strict=True):
        for name in below:
            if fits := re.fullmatch(pattern, name, re.IGNORECASE):
                found[fits.groupdict().get("split", "").lower()].append(name)
    parts = {}
    for split, names in places[0].items():
        images, masks = (_only(folder, below, found) for found in (names, places[1][split]))
        if patterns == (PART, LABELS) and split != "test":
            masks = _only(folder, below, [n for n in places[1][""] if images_in(below[n])[0]])
        if images and masks and images in masks.parents and not _holds_images(images):
            masks = None  # it is that of images elsewhere
        if images == masks:
            found, of_name = told_apart(images_in(images)[0])
            if 2 * len(of_name) >= len(found) > 0 or split in ("val", "test") and found:
                parts[split] = Part(images, masks if of_name else None)
        elif masks and patterns[0] == IMAGES:
            parts |= _divided(images, masks)
        elif masks or split in ("val", "test") and images_in(images)[0]:
            parts[split] = Part(images, masks)
    return parts


def _only(folder, below, names):
    """The folder that is meant of these; those that hold no images are not, if there are others."""
    plain = [name for name in names if not name.rpartition("/")[2].lower().startswith("original")]
    names = plain or names
    if len(names) > 1:
        names = prefer_first([name for name in names if images_in(below[name])[0]] or names)
    if len(names) > 1:
        raise UserError(f"{folder}: {few([f'{n}/' for n in names])} are named alike. {ASK}")
    return below[names[0]] if names else None


def _divided(images, masks):
    """The parts of folders of images and masks: train/, val/ and test/ in these, or all."""
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder. {ASK}")
    divided, of_masks = map(_splits, (images, masks))
    loose = _holds_images(images)
    if not divided or loose and divided.keys() == {"val"}:  # a folder like others
        return {"": Part(images, masks)}
    if loose or "train" not in divided:
        names = few([f"{path.name}/" for path in divided.values()])
        raise UserError(f"{images}: has {names}, and training images in no train/. {ASK}")
    return {
        split: Part(path, of_masks.get(split) if of_masks else masks)
        for split, path in divided.items()
    }


def _holds_images(folder):
    """Whether images lie in a folder itself, not in one below it."""
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _splits(folder):
    """The folders in a folder that are named like parts, by the part."""
    below, names = {path.name: path for path in inside(folder)}, defaultdict(list)
    for name in below:
        if fits := re.fullmatch(SPLIT, name, re.IGNORECASE):
            names[fits["split"].lower()].append(name)
    return {split: _only(folder, below, alike) for split, alike in names.items()}


def _beside(images):
    """The folder of the masks that lies beside that of the images."""
    if not images.is_dir():
        raise UserError(f"{images}: there is no such folder. {ASK}")
    name = re.escape(images.name)
    for folder, pattern in (
        (images.parent, f"(?:{name}[_-]?)?(?:{LABELS}|annot)"),
        (images.parent.parent, f"{LABELS}/{name}"),
    ):
        below = _folders(folder)
        names = [n for n in below if re.fullmatch(pattern, n, re.IGNORECASE)]
        if names := [n for n in names if below[n] != images]:
            return _only(folder, below, names)
    if told_apart(images_in(images)[0])[1]:
        return images
    raise UserError(f"{images}: no folder beside it is named like masks. {ASK}")
