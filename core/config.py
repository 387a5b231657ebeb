"""Every setting with its default, and the presets of the three data sets."""

import dataclasses
import json

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
ISBI_CLASSES = ("membrane", "cell")
SAMPLE_CLASSES = ("background", "plain", "speckled", "striped", "checked")

IGNORE = 255  # the mask value that means "do not look here", from the reader to the report
RUN_FILES = ("last.keras", "best.keras", "history.csv", "curves.png", "samples.png")
REPORT_FILES = ("metrics.json", "per_class.csv", "confusion.csv", "worst.png")
PROTOCOLS = ("voc", "letterbox")  # the two ways to score, see metrics.py
LOSSES = ("crossentropy", "dice", "focal", "iou")  # and sums of them, see losses.py
PIXEL_LOSSES = ("crossentropy", "focal")  # those that look at pixels, which weights are for
OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
VOC_HOME = "data/VOCdevkit/VOC2012"  # where VOC is looked for if nothing else is said
ISBI_HOME = "data/isbi"
ISBI_STACKS = ("train-volume.tif", "train-labels.tif")


@dataclasses.dataclass
class Config:
    """The settings of a run; the defaults are the reference's own, for PASCAL VOC."""

    # The data
    dataset: str = "voc"  # voc, isbi, folder (own pictures) or sample
    data: str | None = VOC_HOME  # None: the sample, drawn when it is needed
    train_list: str | None = None  # None: ImageSets/SegmentationAug or Segmentation, see VOCdataset
    val_list: str | None = None
    val_fraction: float = 0.2  # share kept for validation of an isbi stack or a folder
    class_names: tuple = VOC_CLASSES
    classes: tuple = ()  # learn only these; every other class becomes "do not look here"
    masks: str | None = None  # folder: ids, black-and-white or colours; train.py finds out
    palette: tuple = ()  # a colour (red, green, blue) for each class; train.py fills it in

    # What the network sees
    channels: int = 3
    size: tuple = (320, 320)  # the canvas: a picture is fitted into this height and width
    crop: tuple | None = None  # train on random windows of the canvas, of this height and width
    repeats: int = 1  # how often an epoch visits each training picture
    aug: bool = True

    # The network, see nets/unet.py and nets/sizes.py
    filters: int = 64
    architecture: str = "same"  # same, or paper: as the paper has it, and with its augmentation
    normalization: str = "none"  # none, batch or group
    upsampling: str | None = None  # nearest or transpose; None: as the architecture has it
    encoder: str = "none"  # a known network as the way down
    encoder_weights: str = "none"  # what it begins with: none, imagenet or a file
    dropout: float = 0.5
    l2: float = 5e-4

    # The training
    loss: str = "crossentropy"  # one of LOSSES, or a sum of them
    class_weights: str = "none"  # none, or balanced: a class's pixels weigh more if it is rare
    weights: tuple = ()  # what that comes to for each class; train.py fills it in
    border_weight: bool = False  # whether background between objects weighs more, see borders.py
    ignored_as_background: bool = False  # whether 255 is learnt as background, padding among it
    precision: str = "auto"  # float32; bfloat16 or float16 for mixed precision; auto
    policy: str = ""  # the Keras dtype policy that this comes to; train.py fills it in
    epochs: int = 100
    patience: int | None = None  # stop after so many epochs without a better one
    batch_size: int = 4
    optimizer: str = "adam"  # adam, or sgd with the paper's momentum of 0.99
    lr: float = 1e-4  # peak, reached after the warm-up
    lr_floor: float = 1e-6  # at the first and at the last step
    warmup: float = 0.1  # share of all steps
    freeze_encoder: int = 0  # epochs in which the encoder's weights stay as they began
    encoder_lr_factor: float = 0.1  # its share of the learning rate, if its weights are pretrained
    seed: int = 0
    workers: int = 2  # threads that read and augment pictures

    @property
    def names(self):
        """The names of the classes that the model tells apart, in the order of their ids."""
        if self.classes:
            return (self.class_names[0], *self.classes)
        return self.class_names

    @property
    def num_classes(self):
        """The number of classes that the model tells apart, background included."""
        return len(self.names)

    @property
    def tile(self):
        """Whether the model was trained at the pictures' own resolution, and so looks at tiles."""
        return self.crop is not None

    @property
    def upright(self):
        """Whether training shows pictures one way up only, as photographs are; else in all ways."""
        return self.dataset in ("voc", "folder")

    def check(self):
        """Makes sure that a model can be used with these settings, wherever they come from.

        Raises:
            ValueError: if not.
        """
        whole = (*self.size, *(self.crop or ()), self.filters)
        if not (
            all(isinstance(number, int) and number > 0 for number in whole)
            and len(self.size) == 2
            and self.channels in (1, 3)
            and all(isinstance(name, str) for name in self.names)
            and all(len(colour) == 3 and max(colour) < 256 for colour in self.palette)
            and len(self.palette) >= len(self.names)
        ):
            raise ValueError("these are no settings of a model")

    def to_json(self):
        """Returns the settings as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text):
        """Makes a Config of `to_json`'s text; unknown settings are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in known}
        return cls(**{name: _tuples(value) for name, value in values.items()})


# What --architecture paper changes of a preset: the paper's width and dropout, and no
# normalization, without which the presets' learning rates are too large.
PAPER = {"filters": 64, "normalization": "none", "dropout": 0.5, "lr": 1e-4}


def loss_terms(text):
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


def _tuples(value):
    """JSON's lists back to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


PRESETS = {
    "voc": Config(normalization="batch", lr=1e-3),
    "isbi": Config(
        dataset="isbi",
        data=ISBI_HOME,
        class_names=ISBI_CLASSES,
        channels=1,
        size=(512, 512),
        crop=(256, 256),
        repeats=8,
        filters=16,
        normalization="batch",
        dropout=0.0,
        l2=1e-5,
        epochs=120,
        lr=2e-3,
    ),
    "folder": Config(
        dataset="folder",
        data=None,
        class_names=(),
        size=(256, 256),
        filters=16,
        normalization="batch",
        dropout=0.0,
        l2=1e-5,
        epochs=60,
        lr=2e-3,
        lr_floor=1e-5,
    ),
    "sample": Config(
        dataset="sample",
        data=None,
        class_names=SAMPLE_CLASSES,
        size=(128, 128),
        filters=8,
        normalization="batch",
        dropout=0.0,
        l2=1e-5,
        epochs=14,
        batch_size=8,
        lr=1e-2,
        lr_floor=1e-4,
    ),
}
