"""From settings to data sets.

A new data set NAME is an entry in `core.config.PRESETS` and a file `core/sources/NAME.py` with a
subclass of `Dataset` and a function `open_part`, see `open_dataset`. folder.py is an example.
"""

import dataclasses
import time
from importlib import import_module
from pathlib import Path

from core.config import PRESETS, Config, Found
from core.dataset import Dataset
from core.imaging import augment
from core.ISBIdataset import ISBIDataset
from core.sources import sample
from core.sources.cache import Store
from core.sources.classes import find_table
from core.sources.folder import apart
from core.sources.layouts import find
from core.sources.palettes import differs
from core.support import devices, processes
from core.support.errors import UserError, few
from core.training.facts import fingerprint
from core.training.plan import MINUTES, PLANNED, describe, lost, make_plan
from nets.reach import geometry
from nets.unet import UNet


def open_dataset(
    config: Config,
    split: str | None,
    training=False,
    strict=True,
    reading=None,
    known: dict | None = None,
    **shared,
) -> Dataset:
    """Opens a part of the data that the settings name.

    `core/sources/NAME.py` opens the data set NAME: `open_part(config, split, **options)`. The
    options are `strict`, `reading`, `batch_size`, in training `aug`, and arguments of `Dataset`.

    Args:
        config: the settings.
        split: "train", "val", or None for all images.
        training: whether to shuffle, repeat, augment and crop as the settings say.
        strict: whether a missing file is an error at once.
        reading: how masks of own data are read, see `Found.masks`; None: found out from them.
        known: the split of a run, see `read_split`, that holds instead of the data's own.
        **shared: more arguments of `Dataset`.

    Raises:
        UserError: if the data is not there or cannot be used.
    """
    if config.dataset not in PRESETS:
        raise UserError(f"--dataset {config.dataset}: choose one of {', '.join(PRESETS)}.")
    if config.dataset in ("voc", "isbi", "folder") and not config.data:
        raise UserError("The settings do not say where the data lies. Name its folder with --data.")
    if config.data and config.dataset != "sample" and not Path(config.data).is_dir():
        raise UserError(f"{config.data}: there is no such folder. Name another with --data.")
    names = ["num_classes", "channels", "seed", "workers", "batch_size"]
    if training:
        names += ["aug", "crop", "repeats", "border_weight", "ignored_as_background"]
        shared["shuffle"] = True
        if config.augmentation:
            kind = augment.AUGMENTATIONS[config.augmentation]
            shared |= zip(("changes", "elastic", "scaling"), kind, strict=True)
        elif config.architecture == "reference" and config.upright:
            shared["changes"] = augment.reference
    options = {name: getattr(config, name) for name in names}
    options |= {"target_size": config.size, "resize": not config.tile}
    options |= {"strict": strict, "reading": reading, **shared}
    built_in = {"voc": sample.open_part, "isbi": _open_isbi}.get(config.dataset)
    opener = built_in or import_module(f"core.sources.{config.dataset}").open_part
    dataset = opener(config, split, **options)
    if known:
        if not {*known[split]} <= {*dataset.names}:
            dataset = opener(config, None, **options)
        dataset.keep(known, split, strict)
    return dataset


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
    """Does the work of `open_scored`."""
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
    if {config.dataset, trained.dataset} == {"folder"} and apart(config, trained):
        return True
    return other or config.dataset in ("voc", "sample") and not any(before)  # their own lists


def with_classes(config: Config, dataset: Dataset) -> Config:
    """Returns the settings with the classes that were found in the data, if they were."""
    return dataclasses.replace(config, class_names=dataset.class_names or config.class_names)


def open_both(
    config: Config, strict=True, known=None, kept: Found | None = None, index=None
) -> tuple[Dataset, Dataset]:
    """Opens the data for `fit` on all devices, see `open_dataset`; reads all masks in one way.

    The split `known` and what was found, `kept`, are those of a run which is resumed. An
    `Index` knows what earlier starts found in the files.
    """
    part = processes.process()
    shared = {"strict": strict, "known": known, "part": part, "palettes": {}, "store": Store()}
    shared |= {"multiple": len(devices.all_devices()), "index": index}
    if config.architecture == "paper":  # a narrow one sees as far as a wide one
        network = UNet((None, None, 1), 2, filters=1, architecture="paper")
        shared["surroundings"] = geometry(network)
    shared["intensity"] = config.intensity or (kept and kept.intensity)
    reading = kept and kept.masks
    whole = {"multiple": devices.whole_batch(config.batch_size)}
    dataset = open_dataset(config, "train", training=True, reading=reading, **shared | whole)
    shared["intensity"] = dataset.find_intensity()
    config = with_classes(config, dataset)
    validation = open_dataset(config, "val", reading=dataset.reading, **shared)
    files = (
        {(str(info.get("image_path", info)), info.get("page", 0)) for info in data.image_info}
        for data in (dataset, validation)
    )
    if not known and (both := sorted(set.intersection(*files))):
        names = few([Path(path).name for path, _ in both])
        raise UserError(f"{names}: both for training and for validation. Leave each in one list.")
    if kept and config.dataset == "folder":
        table = find_table(Path(config.data), config.class_table) or find_table(dataset.where, None)
        if table and differs(table, config.names, kept.masks):
            dataset.notes += (
                f"\n{table.path}: is not what the run began with, which keeps its classes. Add "
                "--overwrite to start again with this table."
            )
    return dataset, validation


def planned(config, args, dataset, validation, started, resumed=False) -> tuple:
    """Makes the plan for own data, or only chooses epochs and repeats for `--minutes`.

    Args:
        config: the `Config` that the flags gave.
        args: the flags; those that were given stay.
        dataset: the data set to train on.
        validation: the data set to validate with.
        started: when the program began, by `time.monotonic`.
        resumed: whether this is a run that has its plan already.

    Returns:
        The settings, the data sets for them, and what to say of the plan.
    """
    given = {name for name, value in vars(args).items() if value is not None}
    if config.dataset != "folder":
        given = {*PLANNED} - ({"epochs", "repeats"} - given if config.minutes else set())
    if processes.process()[1] > 1:
        if config.minutes:
            raise UserError("--minutes: processes have different clocks. Give --epochs instead.")
        given.add("epochs")
    named = with_classes(config, dataset)
    plans = not (given >= {*PLANNED} or resumed)
    if not (plans or args.check_data):
        return named, dataset, validation, ""

    def opened(settings):
        known = {"class_names": config.class_names, "intensity": dataset.find_intensity()}
        return open_both(dataclasses.replace(settings, **known), index=dataset.index)

    facts = fingerprint(dataset, len(validation.image_info))
    if not plans:
        return named, dataset, validation, lost(facts, named)
    left = 60 * (config.minutes or MINUTES) - (time.monotonic() - started)
    plan = make_plan(named, given, facts, opened, left)
    told = [describe(plan, facts, config.class_names)] + [lost(facts, plan)] * bool(args.check_data)
    return plan, *opened(plan), "\n".join(told)


def _open_isbi(config, split, reading, **options):
    options |= {"val_fraction": config.val_fraction, "paper": config.architecture == "paper"}
    return ISBIDataset(config.data, split=split, **options)
