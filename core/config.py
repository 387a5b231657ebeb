"""Every setting once: its default, its help text and its flag; and the presets."""

import dataclasses
from functools import partial

from nets.sizes import ARCHITECTURES, ENCODERS, NORMALIZATIONS, UPSAMPLINGS, check_size

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
ISBI_CLASSES = ("membrane", "cell")
SAMPLE_CLASSES = ("background", "plain", "speckled", "striped", "checked")

BACKGROUND = ("background", "_background_", "bg")  # a class of such a name is the background
IGNORED = ("void", "unlabeled", "unlabelled", "ignore", "ignored", "__ignore__")  # becomes 255
IGNORE = 255  # the mask value that means "do not look here", from the reader to the report
BYTES = (0, 255)  # the range of values of an 8-bit image
RUN_FILES = ("last.keras", "best.keras", "history.csv", "curves.png", "samples.png")
REPORT_FILES = ("metrics.json", "per_class.csv", "confusion.csv", "confusion.png", "worst.png")
PROTOCOLS = ("voc", "letterbox")  # the two ways to score, see evaluation/metrics.py
LOSSES = ("crossentropy", "dice", "focal", "iou")  # and sums of them, see training/losses.py
PIXEL_LOSSES = ("crossentropy", "focal")  # the mean over pixels, which weights can be given to
AUGMENTATIONS = ("photograph", "upright", "turned", "microscopy")  # see imaging/augment.py
UPRIGHT = ("photograph", "upright")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
VOC_HOME = "data/VOCdevkit/VOC2012"  # where VOC is looked for by default
ISBI_HOME = "data/isbi"
ISBI_STACKS = ("train-volume.tif", "train-labels.tif")


def _setting(group, default, help, choices=None):
    """A field of `Config`: its default, its help text, and the group of its flag in `--help`."""
    metadata = {"group": group, "help": help, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


_data, _network, _training = (partial(_setting, g) for g in ("data", "network", "training"))
_preset = partial(_setting, None)  # has no flag, only presets set it


@dataclasses.dataclass
class Config:
    """What is asked for: the settings of a run.

    The defaults are those of the original project (https://github.com/verages/UNet-keras), which
    this one follows, for PASCAL VOC. Messages and comments call it the reference. Each field makes
    its flag and its line in `--help`, see `support/flags.py`.
    """

    dataset: str = _data("voc", "")
    data: str | None = _data(
        VOC_HOME, "its folder (default: voc data/VOCdevkit/VOC2012, isbi data/isbi)"
    )
    images: str | None = _data(None, "folder of the images of own data (default: found)")
    masks: str | None = _data(None, "folder of their masks (default: found)")
    train_list: str | None = _data(None, "names of the training images (default: found)")
    val_list: str | None = _data(None, "names of the validation images (default: found)")
    val_fraction: float = _data(0.2, "share of the images that is for validation")
    classes: tuple = _data((), "learn only these classes of voc; all others become 255")
    class_names: tuple = _training(
        VOC_CLASSES, "names of the classes of own data, in the order of their ids"
    )
    class_table: str | None = _data(
        None, "names, and colours or values, of own classes (default: found)"
    )
    intensity: tuple | None = _data(
        None, "values that become 0 and 255 (default: by the training images)"
    )

    channels: int = _network(3, "channels of an image", (1, 3))
    size: tuple = _training((320, 320), "canvas for an image")
    crop: tuple | None = _training(
        None, "train on crops of the images' own resolution, predict by tiles"
    )
    repeats: float = _training(1, "how often an epoch visits an image")
    aug: bool = _training(True, "train without augmentation")
    augmentation: str | None = _training(None, "(default: that of the data set)", AUGMENTATIONS)

    filters: int = _network(64, "features of the first level")
    architecture: str = _network("same", "see docs/networks.md", ARCHITECTURES)
    normalization: str = _network("none", "after each convolution", NORMALIZATIONS)
    upsampling: str | None = _network(None, "(default: nearest)", UPSAMPLINGS)
    encoder: str = _network("none", "none, or one of docs/networks.md", ("none", *ENCODERS))
    encoder_weights: str = _network("none", "none, imagenet, a file of weights, or a .keras file")
    init_weights: str | None = _network(None, "start from a trained model, also for other classes")
    from_scratch: bool = _network(
        False, "own data: do not start from the encoder of the shipped model"
    )
    freeze_encoder: int = _network(0, "keep pretrained weights fixed for N epochs")
    encoder_lr_factor: float = _network(
        0.1, "learning rate of pretrained weights: a share of the usual"
    )
    dropout: float = _preset(0.5, "share of the features that are dropped")
    l2: float = _preset(5e-4, "L2 penalty on kernels")

    loss: str = _training("crossentropy", "crossentropy, dice, focal, iou, or a sum of them")
    class_weights: str = _training(
        "none", "balanced gives classes equal parts in the loss", ("none", "balanced")
    )
    border_weight: bool = _training(False, "thin background between objects weighs more")
    ignored_as_background: bool = _training(
        False, "learn 255 and padding as background; to compare"
    )
    precision: str = _training("auto", "", PRECISIONS)
    epochs: int = _training(100, "how many epochs")
    planned: tuple = _preset((), "the settings that the plan chose, see training/plan.py")
    minutes: float | None = _training(None, "how long the training may take; chooses the epochs")
    patience: int | None = _training(None, "stop after N epochs without a better one")
    batch_size: int = _training(4, "images in a batch")
    optimizer: str = _training("adam", "", ("adam", "sgd"))
    lr: float = _training(1e-4, "highest learning rate")
    lr_floor: float = _preset(1e-6, "learning rate of the first and the last step")
    warmup: float = _preset(0.1, "share of the steps in which the learning rate rises")
    seed: int = _training(0, "of everything that is drawn at random")
    workers: int = _training(2, "threads that prepare images")

    @property
    def names(self) -> tuple:
        """The names of the classes that the model tells apart, in the order of their ids."""
        return (self.class_names[0], *self.classes) if self.classes else self.class_names

    @property
    def num_classes(self) -> int:
        """The number of classes that the model tells apart, background included."""
        return len(self.names)

    @property
    def tile(self) -> bool:
        """Whether the model was trained at the images' own resolution, and so predicts by tiles."""
        return self.crop is not None

    @property
    def upright(self) -> bool:
        """Whether the data has an up and a down, as photographs have."""
        kind = self.augmentation
        return kind in UPRIGHT if kind else self.dataset in ("voc", "folder")


@dataclasses.dataclass
class Found:
    """What came of it: what data and machine said. It is kept with the model."""

    masks: str | tuple = "ids"  # what their values mean: see `core.imaging.mask.meanings`
    palette: tuple = ()  # red, green and blue of each class
    class_weights: tuple = ()  # each class's weight in the loss; empty: all are 1
    intensity: tuple | None = None  # what becomes 0 and 255; version 0.1 did not keep it
    policy: str = "float32"  # the Keras dtype policy that training computed with


def default_names(count: int) -> tuple[str, ...]:
    """Returns the names of so many classes that have none; of none, nothing."""
    return ("background", *(f"class{number}" for number in range(1, count)))[:count]


def loss_terms(text: str) -> tuple:
    """Returns the names in a loss such as `crossentropy+dice`.

    Raises:
        ValueError: if one is unknown, missing or repeated.
    """
    terms = tuple(name.strip() for name in text.split("+"))
    if not set(terms) <= set(LOSSES) or len(set(terms)) < len(terms):
        raise ValueError(
            f"{text!r} must be one of {', '.join(LOSSES)}, or a sum of them such as "
            "crossentropy+dice, each once"
        )
    return terms


# What --architecture changes of a preset; without normalization, its lr would be too high.
PAPER = {"filters": 64, "normalization": "none", "dropout": 0.5, "lr": 1e-4}
RECIPES = {"same": {}, "paper": PAPER, "reference": PAPER | {"lr_floor": 1e-6, "l2": 5e-4}}

PRESETS = {"voc": Config(normalization="batch", lr=1e-3)}
_SMALL = dataclasses.replace(PRESETS["voc"], dropout=0.0, l2=1e-5, filters=16, lr=2e-3)
PRESETS |= {
    name: dataclasses.replace(_SMALL, dataset=name, **settings)
    for name, settings in {
        "isbi": {"data": ISBI_HOME, "class_names": ISBI_CLASSES, "channels": 1}
        | {"size": (512, 512), "crop": (256, 256), "repeats": 8, "epochs": 120},
        "folder": {"data": None, "class_names": ()}
        | {"size": (256, 256), "epochs": 60, "lr_floor": 1e-5},
        "sample": {"data": None, "class_names": SAMPLE_CLASSES, "size": (128, 128), "filters": 8}
        | {"epochs": 14, "batch_size": 8, "lr": 1e-2, "lr_floor": 1e-4},
    }.items()
}


def check_canvas(config: Config) -> None:
    """Raises a ValueError if a network cannot take images of the canvas' or the crop's size.

    The network of the paper is given images that fit it.
    """
    encoder = None if config.encoder == "none" else config.encoder
    for flag in ("size", "crop") if config.architecture != "paper" else ():
        size = getattr(config, flag)
        try:
            check_size(*size or (None, None), encoder=encoder)
        except ValueError as error:
            raise ValueError(f"--{flag} {size[0]} {size[1]}: {error}") from error
