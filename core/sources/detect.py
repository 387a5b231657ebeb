"""Which data set is meant: by the flags, and by what lies in the data's folder."""

import contextlib
import re
from pathlib import Path

from core.config import IGNORE, ISBI_STACKS, VOC_HOME
from core.sources.own.layouts import IMAGES, TABLES, find, inside
from core.support.errors import UserError
from core.support.pairs import images_in

VOC_MASKS = ("SegmentationClass", "SegmentationClassAug")
_FEW = 15  # of VOC's ids, 15 is a person, the most frequent one
DEFAULT = "voc if it is there, else sample; --data: by the layout"


def choose(args) -> tuple[str, str]:
    """Chooses the data set by the flags of train.py and by what lies in the data's folder.

    Returns:
        Its name, and a note on what was chosen; empty if that was clear.
    """
    if args.dataset or args.images or args.masks:
        return args.dataset or "folder", ""
    lists = args.train_list or args.val_list
    if not args.data:
        if lists or Path(VOC_HOME).is_dir():
            own = not (lists or args.classes) and _by_ids(Path(VOC_HOME))[0] == "folder"
            text = f"{VOC_HOME} holds few of VOC's ids. If they are your own classes, name it with"
            return "voc", f"{text} --data." if own else ""
        text = f"No VOC 2012 in {VOC_HOME} (see docs/training.md): the data is the built-in sample."
        return "sample", text
    folder = Path(args.data)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder. Name another with --data.")
    if (lists or (folder / "ImageSets").is_dir()) and (folder / "JPEGImages").is_dir():
        if args.class_table or any((folder / name).is_file() for name in TABLES):
            return "folder", ""  # a table has other classes than VOC's
        named = args.classes or args.class_names or args.num_classes
        return ("voc", "") if named else _by_ids(folder)
    if all((folder / name).is_file() for name in ISBI_STACKS):
        return "isbi", f"{folder} holds {' and '.join(ISBI_STACKS)}: the data set is isbi."
    if not (args.class_names or args.num_classes or args.class_table) and _has_slices(folder):
        return "isbi", (
            f"{folder} holds numbered grey slices in image/ and labels in black and white in "
            "label/: the data set is isbi. With --dataset folder, they are own data."
        )
    there = any(re.fullmatch(IMAGES, path.name, re.IGNORECASE) for path in inside(folder))
    return "folder" if there or find(folder)[1] else "voc", ""


def _by_ids(folder):
    """Tells VOC's classes from others in its layout: any hundred of its images show a high id."""
    from PIL import Image

    paths = sorted(path for name in VOC_MASKS for path in (folder / name).glob("*.png"))
    ids = set()
    for path in paths[:: -(-len(paths) // 100) or 1]:
        with contextlib.suppress(OSError), Image.open(path) as mask:
            if mask.mode not in ("1", "L", "P"):
                return "voc", ""  # colours
            ids |= {value for _, value in mask.getcolors()} - {IGNORE}
    if not 2 <= len(ids) <= _FEW or ids != {*range(len(ids))}:
        return "voc", ""
    held = f"{folder} has VOC's layout, and masks with the ids 0 to {len(ids) - 1} only"
    return "folder", f"{held}, so they are own data. If they are VOC's classes, add --dataset voc."


def _has_slices(folder):
    """Whether a folder looks like ISBI's."""
    from PIL import Image

    images, labels = (images_in(folder / name)[0] for name in ("image", "label"))
    if not (images and images.keys() <= labels.keys() and "".join(images).isdecimal()):
        return False
    name = next(iter(images))
    try:
        with Image.open(images[name][0]) as image, Image.open(labels[name][0]) as label:
            return image.mode == "L" and label.mode in ("1", "L") and len(label.getcolors()) <= 2
    except OSError:
        return False
