"""Which data is meant: the data set to train on, and the part of one that a model is scored on.

Both are decided by the flags and by what lies in the data's folder. Flags are refused before NumPy
and Keras are imported.
"""

import contextlib
import re
from pathlib import Path

from core.config import IGNORE, ISBI_STACKS, VOC_HOME, Config
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


def open_scored(
    config: Config, split: str | None, known: dict | None, trained: Config, **options
) -> tuple:
    """Opens what a model is scored on, see `core.sources.choose.open_dataset`.

    Args:
        config: the settings of the data.
        split: "train", "val" or "all". None: "val", but "all" of other data than the training's,
            if nothing but a draw would tell its parts apart.
        known: the split of the model's run. It holds where half of its images are there.
        trained: the settings of the training.
        **options: as for `open_dataset`.

    Returns:
        The data set and the name of the part.
    """
    options["reading"], note, again = _read_by(config, options.get("reading"))
    try:
        dataset, part = _open_scored(config, split, known, trained, options)
    except UserError:
        if not again:
            raise
        options["reading"] = None
        dataset, part = _open_scored(config, split, known, trained, options)
    learnt = {*dataset.names} & {*known["train"]} if known and part == "val" else ()
    if learnt and (config.data, config.images) == (trained.data, trained.images):
        note += f" The model was trained on {len(learnt)} of these images."
    dataset.notes = f"{dataset.notes} {note}".strip()
    return dataset, part


def _read_by(config, reading):
    """How masks of own data are read: as those of the training, or by another table, None.

    A table in the folder may say the same classes in another way. One of other classes is not used.

    Returns:
        The reading, a note, and whether to try the table if masks are not like the training's.
    """
    from core.sources.own.classes import find_table
    from core.sources.own.palettes import differs

    if config.dataset != "folder" or config.class_table or not (reading and config.data):
        return reading, "", False
    folder = Path(config.data)
    if not folder.is_dir():  # the message comes when it is opened
        return reading, "", False
    home, parts = find(folder, config.images, config.masks)
    main = parts.get("") or parts.get("train")
    places = dict.fromkeys((folder, home, *(main[:1] if main else ())))
    table = next(filter(None, (find_table(place, None) for place in places)), None)
    if not table or not differs(table, config.names, reading):
        return reading, "", bool(table)
    if {*table.names} == {*config.names}:
        return None, "", False
    unused = f"{table.path}: is not used, as its classes are not those of the model."
    return reading, unused, False


def _open_scored(config, split, known, trained, options):
    """The data set and the part, without notes, see `open_scored`."""
    from core.sources.choose import open_dataset

    if split == "all":
        return open_dataset(config, None, **options), split
    part = split or "val"
    if known and not _says_itself(config, trained):
        everything = open_dataset(config, None, **options)
        names = {*known["train"], *known["val"]}
        there = names & {*everything.names}
        if 2 * len(there) >= len(names):
            if not there & {*known[part]}:
                everything = open_dataset(config, part, **options)
            everything.keep(known, part, strict=False)
            if not everything.image_info:
                raise UserError(
                    f"{config.data}: none of the images that the run calls {part} is there. Name "
                    "another --split, or another folder with --data."
                )
            return everything, part
    places = [(c.data, c.images) for c in (config, trained)]
    unknown = not (split or config.train_list or config.val_list) and places[0] != places[1]
    try:
        dataset = open_dataset(config, part, **options)
    except UserError:  # a single image, for example, cannot be divided
        if not unknown:
            raise
        return open_dataset(config, None, **options), "all"
    if dataset.drawn and unknown:
        return open_dataset(config, None, **options), "all"
    return dataset, part


def _says_itself(config, trained):
    """Whether layout or flags tell the parts apart, whatever a run's split says."""
    lists, before = ((c.train_list, c.val_list) for c in (config, trained))
    other = any(lists) and lists != before or config.val_fraction != trained.val_fraction
    if {config.dataset, trained.dataset} == {"folder"} and _apart(config, trained):
        return True
    return other or config.dataset in ("voc", "sample") and not any(before)  # their own lists


def _apart(config: Config, trained: Config) -> bool:
    """Returns whether settings name other images of the folder that a model was trained on.

    So a run's split does not hold for its test images, even if these have the same names.
    """
    folder = Path(config.data or "")
    there = config.data and trained.data and folder.is_dir()  # else this is said elsewhere
    if not there or Path(trained.data) not in (folder, *folder.parents):
        return False
    here, there = (
        {p.images for n, p in find(Path(c.data), c.images, c.masks)[1].items() if n != "test"}
        for c in (config, trained)
    )
    return here.isdisjoint(there)
