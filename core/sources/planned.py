"""The plan for the data that is opened, made and put into words."""

import dataclasses
import math
import shlex
import time

from core.config import PRESETS, Config
from core.sources.choose import open_both, with_classes
from core.sources.fingerprint import fingerprint
from core.support import processes
from core.support.errors import UserError
from core.training.plan import MINUTES, PLANNED, Fingerprint, make_plan, shrinking


def planned(config, args, dataset, validation, started, resumed=False) -> tuple:
    """Makes the plan for own data, or only chooses the epochs for `--minutes`.

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
        given = {*PLANNED} - {"epochs"} if config.minutes else {*PLANNED}
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
    told = [describe(plan, facts)] + [lost(facts, plan)] * bool(args.check_data)
    return plan, *opened(plan), "\n".join(told)


def lost(facts: Fingerprint, config: Config) -> str:
    """Says how much images are shrunk, and what becomes of the thinnest objects."""
    times = shrinking(facts, config.size)
    if config.crop or times < 1.05:
        return "Images keep their resolution."
    told = f"Images are shrunk {times:.1f} times"
    if facts.objects:
        name = config.names[min(facts.objects, key=facts.thickness.__getitem__)]
        told += f"; the thinnest objects ({name}) become {facts.thinnest / times:.1f} pixels"
    return f"{told}."


def describe(config: Config, facts: Fingerprint) -> str:
    """Says what the data is like, what the plan is, and which command does the same."""
    kind = "grey" if config.channels == 1 else "colour"
    height, width = facts.size
    thin = "" if math.isinf(facts.thinnest) else f", objects of {facts.thinnest:.1f} pixels or more"
    shrunk = shrinking(facts, config.size)
    where = "{}x{} pixels".format(*(config.crop or config.size))
    if config.crop:
        where = f"crops of {where} at their own resolution"
    else:
        where = f"shrunk {shrunk:.1f} times, to {where}" if shrunk > 1.05 else f"whole, as {where}"
    named = f"with {config.encoder} from {config.encoder_weights}"
    encoder = "from scratch" if config.encoder == "none" else named
    parts = [
        f"{kind} images of {height}x{width}{thin}: {where}",
        f"a U-Net of {config.filters} filters {encoder}",
        f"{config.loss}, augmentation {config.augmentation}",
        f"{config.epochs} epochs of {config.repeats * facts.images} samples",
    ]
    return f"Plan: {'; '.join(parts)}.\nThe same by flags: {command(config)}"


def command(config: Config) -> str:
    """Returns the command that trains with these settings, with all flags of the plan."""
    words = ["python", "train.py", "--dataset", config.dataset]
    for field in dataclasses.fields(Config):
        name, value = field.name, getattr(config, field.name)
        flag = f"--{name.replace('_', '-')}"
        default = getattr(PRESETS[config.dataset], name)
        if not field.metadata["group"] or name in ("dataset", "minutes"):
            continue
        if name not in PLANNED and value == default:
            continue
        if name.startswith("encoder_") and value == default:  # needs an encoder
            continue
        if name == "crop" and not value:
            words.append("--no-crop")
        elif field.type is bool:
            words.append(flag if value else flag.replace("--", "--no-"))
        elif name in ("classes", "class_names"):
            words += [flag, ",".join(value)]
        elif value is not None:
            words += [flag, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)
