"""What a model is scored on: which part of the data, and how its masks are read."""

from pathlib import Path

from core.config import Config
from core.dataset import Dataset
from core.sources.choose import open_dataset
from core.sources.own.layouts import find
from core.sources.own.palettes import differs
from core.sources.own.tables import find_table
from core.support.errors import UserError


def open_scored(
    config: Config, split: str | None, known: dict | None, trained: Config, **options
) -> tuple[Dataset, str]:
    """Opens what a model is scored on, see `open_dataset`.

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
    options["reading"], note = _read_by(config, options.get("reading"))
    dataset, part = _open_scored(config, split, known, trained, options)
    learnt = {*dataset.names} & {*known["train"]} if known and part == "val" else ()
    if learnt and (config.data, config.images) == (trained.data, trained.images):
        note += f" The model was trained on {len(learnt)} of these images."
    dataset.notes = f"{dataset.notes} {note}".strip()
    return dataset, part


def _read_by(config, reading):
    """How masks of own data are read, and a note: as those of the training, or by another table.

    A table in the folder may say the same classes in another way. One of other classes is not used.
    """
    if config.dataset != "folder" or config.class_table or not (reading and config.data):
        return reading, ""
    folder = Path(config.data)
    if not folder.is_dir():  # the message comes when it is opened
        return reading, ""
    home, _ = find(folder, config.images, config.masks)
    table = find_table(folder, None) or find_table(home, None)
    if not table or not differs(table, config.names, reading):
        return reading, ""
    if {*table.names} == {*config.names}:
        return None, ""
    return reading, f"{table.path}: is not used, as its classes are not those of the model."


def _open_scored(config, split, known, trained, options):
    """The data set and the part, without notes, see `open_scored`."""
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
