"""From settings to data sets.

A new data set NAME is an entry in `core.config.PRESETS` and a file `core/sources/NAME.py` with a
subclass of `Dataset` and a function `open_part`, see `open_dataset`. folder.py is an example.
"""

import dataclasses
import time
from importlib import import_module
from pathlib import Path

import keras

from core.config import PRESETS, Config, Found
from core.dataset import Dataset
from core.imaging import augment
from core.ISBIdataset import ISBIDataset
from core.sources.cache import Store, total_memory
from core.sources.folder import refuse
from core.sources.own.classes import find_table
from core.sources.own.palettes import class_rows, differs
from core.sources.sample import sample_folder
from core.support import devices, processes
from core.support.errors import UserError, few
from core.support.files import write_csv
from core.training.facts import fingerprint, lost
from core.training.plan import MINUTES, PLANNED, describe, make_plan
from core.VOCdataset import MASK_FOLDERS, VOCDataset
from nets.reach import geometry
from nets.unet import UNet


class SampleDataset(VOCDataset):
    """The sample; its patterns would not survive a blur, so it is only turned and flipped."""

    def augment(self, image, mask, rng):
        """Turns and flips at random."""
        return augment.orient(image, mask, rng)


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
    built_in = {"voc": _open_voc, "sample": _open_voc, "isbi": _open_isbi}.get(config.dataset)
    opener = built_in or import_module(f"core.sources.{config.dataset}").open_part
    dataset = opener(config, split, **options)
    if known:
        if not {*known[split]} <= {*dataset.names}:
            dataset = opener(config, None, **options)
        dataset.keep(known, split, strict)
    return dataset


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
    store = Store(users=part[1])
    shared = {"strict": strict, "known": known, "part": part, "palettes": {}, "store": store}
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
    plan = make_plan(named, given, facts, opened, left, total_memory())
    told = [describe(plan, facts, config.class_names)] + [lost(facts, plan)] * bool(args.check_data)
    return plan, *opened(plan), "\n".join(told)


def _open_voc(config, split, reading, **options):
    """Opens VOC or the sample, which has its layout; by default SBD's lists if its masks exist."""
    drawn = config.dataset == "sample"
    folder = sample_folder() if drawn else Path(config.data)
    there = [lists for lists, masks in MASK_FOLDERS.items() if (folder / masks).is_dir()]
    if not (there or config.train_list or config.val_list):
        if (folder / "JPEGImages").is_dir():
            raise UserError(
                f"{folder}: holds neither {' nor '.join(MASK_FOLDERS.values())}. Name the folder "
                "with JPEGImages/ and one of them with --data."
            )
        refuse(folder)
    options["class_ids"] = [config.class_names.index(name) for name in config.classes] or None
    lists = {"train": config.train_list, "val": config.val_list}
    dataset, *others = (
        (SampleDataset if drawn else VOCDataset)(
            lists[part] or folder / "ImageSets" / there[0] / f"{part}.txt", root=folder, **options
        )
        for part in ([split] if split else lists)
    )
    for other in others:
        dataset.annotation = list(dict.fromkeys(dataset.annotation + other.annotation))
        dataset.set_image_info()
    return dataset


def _open_isbi(config, split, reading, **options):
    options |= {"val_fraction": config.val_fraction, "paper": config.architecture == "paper"}
    return ISBIDataset(config.data, split=split, **options)


def classes_writer(folder: Path, config: Config, found: Found) -> keras.callbacks.Callback:
    """Returns a callback that writes classes.csv into a run, a class table of its classes."""
    rows = class_rows(config.names, found.masks, found.palette)

    def write(logs):
        write_csv(folder / "classes.csv", rows)

    return keras.callbacks.LambdaCallback(on_train_begin=write)
