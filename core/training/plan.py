"""The plan for own data: from what it is like and what a step takes to the settings.

Each rule is a few lines with its reason. A flag that is given takes the place of its part.
"""

import dataclasses
import math
import shlex
import time

from core.config import PRESETS, Config
from core.prediction.model_file import SHIPPED
from core.support import devices
from core.training.facts import Cost, Fingerprint, measure, seen, shrinking
from nets.sizes import SHIPPED_ENCODER

MINUTES = 20  # for own data, without --minutes
PLANNED = (
    "channels", "size", "crop", "augmentation", "encoder", "encoder_weights", "filters", "loss",
    "batch_size", "lr", "encoder_lr_factor", "repeats", "epochs",
)  # fmt: skip
CROP = 256  # pixels; far more than the network sees around a pixel
STEP = 32  # pixels; sides that are multiples of it suit all networks
VISITS = 30  # of each image, that a training should have before it gets more pixels
STEPS = 300  # that it should have, too: of few images, 30 visits are few steps
PIXEL = 160  # bytes that a pixel of a batch takes in training, for each filter of the first level
SMALLEST, LARGEST = 128**2, 1024**2  # pixels of a canvas
FEW_STEPS = 300  # with so few, half the filters did as well on vessels in the same time
POOR, POOR_NEW = 20, 100  # steps that a pretrained encoder needs at least, and a new network
FEW_EPOCHS = 10  # of fewer, each visits as many images as the time allows
MOST_EPOCHS = 60  # more would only validate and write more often
MOST_VALIDATION = 0.4  # of the time
VALIDATION = 0.4  # what a pixel takes in validation, as a share of what it takes in training


def settings_for(facts: Fingerprint, plain: bool | None = None, gpu: bool = False) -> dict:
    """Chooses all that does not depend on the time.

    Args:
        facts: the data.
        plain: whether the network has no encoder of another network; None: chosen, too.
        gpu: whether a GPU computes.

    Returns:
        Values for `Config`; "size" is that of the images themselves.
    """
    chosen = {"channels": 1 if facts.grey else 3}
    # Colours gain from what was learnt on photographs. Grey images and thin structures do not: the
    # plain network sees them at full resolution, in less time.
    plain = facts.grey or facts.thin if plain is None else plain
    chosen["filters"] = 32 if gpu and plain else 16
    chosen["lr"] = 4e-3 if plain else 1e-3
    # Twice the steps in the same time; a crop of thin structures shows hundreds of them.
    chosen["batch_size"] = 4 if plain else 8
    if not plain:
        chosen |= {"encoder": SHIPPED_ENCODER, "encoder_weights": str(SHIPPED)}
        chosen["encoder_lr_factor"] = 0.5
    # Few images are soon known by heart, so they are changed in every way that leaves them likely.
    # Microscopes and fundus cameras have one scale. On membranes, scaling doubled the steps needed.
    free = "microscopy" if facts.grey or facts.thin else "turned"
    chosen["augmentation"] = "upright" if facts.upright else free
    # The mean over pixels hardly notices a rare class; dice weighs all classes alike.
    rare = any(facts.shares[i] < 0.1 for i in facts.objects)
    chosen["loss"] = "crossentropy+dice" if rare else "crossentropy"
    # Thin structures must not be shrunk.
    chosen["size"] = canvas(facts.size, LARGEST)
    chosen["crop"] = _crop(facts) if facts.thin else None
    return chosen


def canvas(size: tuple[int, int], pixels: float, step: int = STEP) -> tuple[int, int]:
    """Returns the canvas of about so many pixels with the aspect ratio of images of `size`.

    It is never larger than they are, but for padding. Its sides are multiples of `step`.
    """
    scale = math.sqrt(pixels / math.prod(size))
    if scale >= 1:
        return tuple(math.ceil(side / step) * step for side in size)
    return tuple(max(step, round(side * scale / step) * step) for side in size)


def _crop(facts):
    """The crop for images at their own resolution; None if they are hardly larger themselves."""
    if math.prod(facts.largest) <= 1.5 * CROP**2:
        return None
    return tuple(min(CROP, math.ceil(side / STEP) * STEP) for side in facts.size)


def affordable(
    facts: Fingerprint, cost: Cost, seconds: float, crops=True, batch_size=8, most=LARGEST
) -> dict:
    """Chooses the resolution at which the time allows `VISITS` of each image, and `STEPS`.

    It has no more than `most` pixels.
    """
    a_pixel = cost.sample / cost.pixels
    visits = VISITS * (facts.images + VALIDATION * facts.others)
    samples = max(visits, STEPS * batch_size)
    return resolution(facts, min(most, seconds / (a_pixel * samples)), crops)


def width(config: Config, cost: Cost, seconds: float) -> dict:
    """Chooses the "filters": half as many, where there is time for few steps only."""
    steps = seconds / (cost.sample * config.batch_size)
    return {"filters": config.filters // 2 if steps < FEW_STEPS else config.filters}


def resolution(facts: Fingerprint, pixels: float, crops: bool) -> dict:
    """Chooses "size" and "crop" for a number of pixels: crops, where objects would be lost."""
    size = canvas(facts.size, min(LARGEST, max(SMALLEST, pixels)))
    if crops and facts.thinnest / shrinking(facts, size) < 2 and _crop(facts):
        return {"size": canvas(facts.largest, LARGEST), "crop": _crop(facts)}
    return {"size": size, "crop": None}


def epochs_in(facts: Fingerprint, config: Config, cost: Cost, seconds: float, repeat: bool) -> dict:
    """Chooses the "epochs" that fit into the time, and with `repeat` the "repeats" of an epoch.

    Presets keep their repeats, unless only few epochs would fit.
    """
    a_pixel = cost.sample / cost.pixels
    visit = a_pixel * seen(config)
    rest = VALIDATION * a_pixel * facts.others * math.prod(config.size) + cost.writing
    repeats = config.repeats
    if repeat and config.dataset == "folder":
        # Of many short epochs, most of the time would go into validation.
        shortest = max(seconds / MOST_EPOCHS - rest, min(9 * rest, seconds / 10 - rest))
        repeats = max(1, math.ceil(shortest / (visit * facts.images)))
    epochs = max(1, round(seconds / (visit * facts.images * repeats + rest)))
    if repeat:  # most of the time is for training, also where much is there to validate with
        epochs = max(1, min(epochs, int(MOST_VALIDATION * seconds / rest)))
    if repeat and epochs < FEW_EPOCHS:
        # Whole numbers would miss the time. Short epochs lose less when a training is interrupted.
        epochs = max(epochs, min(FEW_EPOCHS, int(seconds / (10 * rest))))
        repeats = (seconds / epochs - rest) / (visit * facts.images)
        least = min(1, 8 * config.batch_size / facts.images)  # a few steps
        repeats = float(f"{max(least, repeats):.3g}")
    return {"epochs": epochs, "repeats": repeats}


def make_plan(
    config: Config, given: set, facts: Fingerprint, opened, seconds: float, memory=math.inf
) -> Config:
    """Makes the plan of a training on own data; `planned` in the settings names its parts.

    Args:
        config: the settings so far.
        given: the names of those that are not to be changed.
        facts: the data.
        opened: returns the data sets to train on and to validate with, for settings.
        seconds: how long the training may take from now on.
        memory: bytes of the machine; training may take half of it, unless a GPU computes.

    Raises:
        UserError: if a step of the training fails.
    """
    end = time.monotonic() + seconds
    free, plain = {*PLANNED} - given, True if config.from_scratch else None
    if config.architecture != "same":  # which has a recipe of its own
        free &= {"channels", "size", "crop", "repeats", "epochs"}
    if config.init_weights:
        free -= {"filters", "channels", "lr", "size", "crop"}
    if given & {"encoder", "upsampling"} or config.init_weights:
        plain = config.encoder == "none"
        free -= {"encoder", "encoder_weights"}
        if config.encoder_weights == "none":
            free -= {"encoder_lr_factor"}
    sides = [side for name in {"size", "crop"} & given for side in getattr(config, name) or ()]
    if any(side % STEP for side in sides):  # which the encoder would not take
        plain = True if plain is None else plain
    if "size" in given:  # the canvas that images are to be fitted into
        free -= {"crop"}

    def with_values(values):
        return dataclasses.replace(config, **{k: v for k, v in values.items() if k in free})

    gpu = devices.gpu_generation() is not None
    config = with_values(settings_for(facts, plain, gpu))
    if config.encoder_weights == "none":
        free -= {"encoder_lr_factor"}
    by_time = "size" in free and not (config.crop or facts.thin)
    if by_time:
        config = with_values(resolution(facts, CROP**2, "crop" in free))
    if "epochs" in free:
        cost = measure(config, opened)
        if by_time:
            left = end - time.monotonic() - cost.start
            most = math.inf if gpu else memory / 2 / (PIXEL * config.filters * config.batch_size)
            args = "crop" in free, config.batch_size, most
            config = with_values(affordable(facts, cost, left, *args))
            if abs(math.log(seen(config) / cost.pixels)) > math.log(1.5):
                cost = measure(config, opened)
        wide = config.filters
        if config.encoder == "none":
            config = with_values(width(config, cost, end - time.monotonic() - cost.start))
        if config.filters < wide:
            cost = measure(config, opened)
        left = end - time.monotonic() - cost.start
        config = with_values(epochs_in(facts, config, cost, left, "repeats" in free))
    return dataclasses.replace(config, planned=tuple(sorted(free)))


def describe(config: Config, facts: Fingerprint, class_names: tuple) -> str:
    """Says what the data is like, what the plan is, and which command does the same.

    `class_names` were given by flags. The command leaves others to be found again: it is not for
    flags to say what colours mean.
    """
    kind = "grey" if config.channels == 1 else "colour"
    height, width = facts.size
    thin = "" if math.isinf(facts.thinnest) else f", objects of {facts.thinnest:.1f} pixels or more"
    shrunk = shrinking(facts, config.size)
    where = "{}x{} pixels".format(*(config.crop or config.size))
    if config.crop:
        where = f"crops of {where} at their own resolution"
    else:
        where = f"shrunk {shrunk:.1f} times, to {where}" if shrunk > 1.05 else f"whole, as {where}"
    source = config.init_weights or config.encoder_weights
    named = f"with {config.encoder} " * (config.encoder != "none")
    named += "from scratch" if source == "none" else f"from {source}"
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    parts = [
        f"{kind} images of {height}x{width}{thin}: {where}",
        f"a U-Net of {config.filters} filters {named}",
        f"{config.loss}, augmentation {config.augmentation or 'as usual'}",
        f"{epochs} of {max(1, round(config.repeats * facts.images))} samples",
    ]
    same = command(dataclasses.replace(config, class_names=class_names))
    steps = config.epochs * math.ceil(config.repeats * facts.images / config.batch_size)
    short = f"\nOnly {steps} steps fit into the time, so masks will be poor. Give more --minutes."
    least = 0 if config.init_weights else POOR if source != "none" else POOR_NEW
    short = short if "epochs" in config.planned and steps < least else ""
    return f"Plan: {'; '.join(parts)}.{short}\nThe same by flags: {same}"


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
