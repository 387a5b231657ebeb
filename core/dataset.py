"""The base class of all data sets: from files to batches."""

from collections.abc import Callable
from functools import partial

import keras
import numpy as np

from core.config import IGNORE
from core.imaging import augment
from core.imaging import mask as masks
from core.imaging.borders import border_weights
from core.imaging.image import check_sizes, read_indexed
from core.imaging.intensity import find_range, read_image
from core.imaging.letterbox import LARGE, fit, padded, shrink
from core.imaging.tiles import onto_objects, random_crop, surround, surrounded
from core.support.errors import UserError, whole
from core.support.files import Named
from core.support.threads import attempts
from nets.reach import Geometry


class Dataset(Named, keras.utils.PyDataset):
    """Batches of images and masks for `fit`, read from files.

    A subclass fills in `image_info`, a list with a dictionary for each image:
    `{"image_path": ..., "mask_path": ...}`, with `"page"` for files of several, and `"name"` where
    the file's name does not tell images apart. It may replace `read_image`, `read_mask`, `augment`.
    Batch `b` is `(images, masks)`: uint8 `[B, H, W, C]` and uint8 `[B, H, W]`, class ids with 255
    where nothing is known. With `border_weight`, a float32 `[B, H, W]` of pixel weights follows:
    1 plus `border_weights` of the mask, 0 at 255.

    What is drawn at random for an image depends on the seed, the epoch and the image alone. Pass
    `shuffle=False` to `fit`: the order is drawn here.

    Args:
        target_size: the canvas, `(height, width)`.
        num_classes: number of classes, background included.
        batch_size: images in a batch.
        aug: whether to change images at random, see `augment`.
        channels: channels of the images, 3 or 1.
        intensity: the values that become 0 and 255; None: see `find_intensity`.
        crop: `(height, width)` of a random crop, or None for the whole canvas. With `aug`, crops
            of a single class are moved to other classes half of the time.
        resize: whether images are fitted into the canvas; else they are padded, and cut if larger.
        scaling: random crops show objects smaller or larger by up to this factor.
        repeats: how often an epoch visits each image; at 0.25, four epochs visit each once.
        shuffle: whether to draw a new order every epoch; None: when `aug` is on.
        seed: of everything that is drawn at random.
        workers: threads that prepare batches.
        border_weight: whether background between objects weighs more.
        ignored_as_background: whether 255, padding among it, is learnt as background.
        surroundings: the `Geometry` of an unpadded network. Images reach as far as that sees.
        part: of several processes that share each batch: which one this is, and how many.
        changes: what `augment` does, of `core.imaging.augment`.
        elastic: whether half of the samples are deformed after that.
        palettes: where the masks of each palette are noted; data sets may share it.
        multiple: batches are filled up to a multiple of it, by images whose masks are all 255.
        store, index: keep shrunk images, and what is known about files, see `core.sources`.
    """

    reading = "ids"  # what the values of masks mean, see imaging/mask.py
    by_colour = False  # whether the colours of palettes are these values, not their indices
    class_names, palette = (), ()  # of own data: what was found; else the settings' and VOC's
    # The counts of `check` depend on these attributes and the files; a subclass adds its own.
    counted_by = "__class__", "target_size", "crop", "resize", "num_classes", "reading", "by_colour"

    def __init__(
        self,
        target_size: tuple[int, int] = (320, 320),
        num_classes: int = 21,
        *,
        batch_size: int = 4,
        aug: bool = False,
        channels: int = 3,
        intensity: tuple[float, float] | None = None,
        crop: tuple[int, int] | None = None,
        resize: bool = True,
        scaling: float = 1.0,
        repeats: float = 1,
        shuffle: bool | None = None,
        seed: int = 0,
        workers: int = 1,
        border_weight: bool = False,
        ignored_as_background: bool = False,
        surroundings: Geometry | None = None,
        part: tuple[int, int] = (0, 1),
        changes: Callable = augment.photograph,
        elastic: bool = False,
        palettes: dict | None = None,
        multiple: int = 1,
        store=None,
        index=None,
    ):
        super().__init__(workers=workers)
        self.target_size = tuple(target_size)
        self.num_classes, self.channels, self.intensity = num_classes, channels, intensity
        self.aug, self.changes, self.elastic = aug, changes, elastic
        self.crop, self.resize, self.repeats = crop, resize, repeats
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.border_weight, self.ignored_as_background = border_weight, ignored_as_background
        self.surroundings, self.scaling = surroundings, 1.0 if surroundings else scaling
        self.part, self.multiple, self.store, self.index = part, multiple, store, index
        self.image_info, self.palettes = [], {} if palettes is None else palettes
        self.begin_epoch(0)

    def __len__(self):
        """Number of batches; the last one may be smaller."""
        return -(-len(self.order()) // self.batch_size)

    def __getitem__(self, batch):
        """Returns `(images, masks)`, or `(images, masks, weights)`, of a batch of this epoch."""
        rows = self.order()[batch * self.batch_size : (batch + 1) * self.batch_size]
        places = np.arange(-(-len(rows) // self.multiple) * self.multiple)
        places = places[self.part[0] :: self.part[1]]
        images, masks = map(np.stack, zip(*map(self.sample, rows[places % len(rows)]), strict=True))
        weights = 1 + np.stack(list(map(border_weights, masks))) if self.border_weight else None
        if self.ignored_as_background:
            masks[masks == IGNORE] = 0
        masks[places >= len(rows)] = IGNORE
        return (images, masks) if weights is None else (images, masks, weights * (masks != IGNORE))

    def begin_epoch(self, epoch: int) -> None:
        """Makes this the epoch that batches are drawn for, counted from 0."""
        self.epoch, self._order = epoch, None

    def on_epoch_end(self):
        """Keras calls this after each epoch, when no worker is reading."""
        self.begin_epoch(self.epoch + 1)

    def order(self) -> np.ndarray:
        """Returns the numbers of this epoch's samples in their order, which is drawn once."""
        wanted = len(self.image_info), self.repeats, self.epoch
        if self._order is None or self._order[0] != wanted:
            shuffled = self.aug if self.shuffle is None else self.shuffle
            self._order = wanted, augment.order(*wanted, self.seed if shuffled else None)
        return self._order[1]

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns image and mask of one sample of this epoch as training sees them."""
        image, mask = self.shrunk(number % len(self.image_info))
        rng = np.random.default_rng((self.seed, self.epoch, int(number)))
        if self.aug:
            image, mask = self.augment(image, mask, rng)
        image, mask = self.on_canvas(image, mask)
        size = self.crop or self.target_size
        shown = augment.scaled(size, rng, self.scaling) if self.aug and self.scaling > 1 else size
        crop = random_crop(mask.shape, rng, shown)
        if self.aug and self.crop:
            crop = onto_objects(crop, mask, rng)
        if self.aug and self.elastic and rng.random() < 0.5:
            if not self.surroundings:
                return fit(*padded(*augment.elastic(image, mask, rng, crop), shown), size)
            image, mask = augment.elastic(image, mask, rng)
        if self.surroundings:
            image = surround(image, self.surroundings, crop)
            return image, surrounded(mask, self.surroundings, crop)
        return fit(*padded(image[crop], mask[crop], shown), size)

    def on_canvas(self, image, mask):
        """Fits a sample into the canvas; without resizing, pads it and cuts it in the middle."""
        if self.resize:
            return fit(image, mask, self.target_size)
        size = np.maximum(mask.shape, self.crop) if self.crop else self.target_size
        return padded(image, mask, size)

    def augment(self, image, mask, rng):
        """Changes a sample at random with a `np.random.Generator`; this suits photographs.

        The image is uint8 `[H, W, C]`, the mask uint8 `[H, W]` with class ids and 255.
        """
        return self.changes(image, mask, rng, self.target_size if self.resize else None)

    def read_image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 `[H, W, C]`."""
        info = self.image_info[index]
        page = info.get("page", 0)
        return read_image(info["image_path"], self.channels, page, self.find_intensity())

    def find_intensity(self) -> tuple[float, float]:
        """Returns the values that become 0 and 255, found in the images if none were given."""
        if self.intensity is None:
            self.intensity = find_range(self.image_info, self.workers, self.remember)
        return self.intensity

    def set_intensity(self, intensity: tuple[float, float]) -> None:
        """Sets these values, as for validation images those of the training images."""
        self.intensity = tuple(intensity)

    def read_mask(self, index: int) -> np.ndarray:
        """Reads the mask of an image, uint8 `[H, W]`, class ids and 255."""
        info = self.image_info[index]
        path, page = info["mask_path"], info.get("page", 0)
        values, palette = read_indexed(path, page)
        if palette is not None and self.by_colour:
            values = masks.by_palette(values, palette, path)
        elif palette is not None:
            self.palettes.setdefault(palette.tobytes(), set()).add((path, page))
        return masks.to_ids(values, self.reading, path)

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads an image and its mask; a UserError if they do not fit each other or the classes."""
        image, mask = self.read_image(index), self.read_mask(index)
        check_sizes(self.image_info[index], image, mask)
        if (mask + np.uint8(1)).max() > self.num_classes:  # 255 becomes 0
            raise masks.WrongValues(self.image_info[index]["mask_path"], mask, self.num_classes)
        return image, mask

    def shrunk(self, index: int, pair: tuple | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a pair, loaded or given, as `augment` gets it: if large, shrunk and kept.

        At their own resolution, images are not shrunk, and kept if crops are taken of them.
        """
        load = (lambda: pair) if pair else partial(self.load, index)
        own = self.crop or not self.resize
        if not self.store or own and not self.crop:
            return load() if own else shrink(*load(), self.target_size, LARGE)
        size = self.crop or self.target_size
        key = self, index, repr((self.image_info[index], self.find_intensity(), size))
        return (self.store.whole if own else self.store.shrunk)(key, load, size, LARGE)

    def check(self) -> np.ndarray:
        """Reads every image and mask once, so that training does not stop over one of them later.

        Returns the pixels of each class on the canvas, as the loss sees it, int64 `[num_classes]`.

        Raises:
            UserError: if pairs cannot be used, masks say nothing, or their palettes contradict.
        """
        if not self.image_info:
            raise UserError("The data set has no images: its image_info is empty.")
        pixels = np.zeros((2, 256), np.int64)  # in the files, and on the canvas
        indices = range(len(self.image_info))
        for found in whole(attempts(self._counted, indices, "Checking the data", self.workers)):
            for row, (values, counts) in zip(pixels, found, strict=True):
                row[list(values)] += counts
        masks.check_palettes(self.palettes, self.where, self.remember)
        masks.check_objects(pixels[0], self.num_classes, self.where)
        if self.index:
            self.index.save()
        if self.ignored_as_background:
            pixels[1, 0] += pixels[1, IGNORE]
        return pixels[1, : self.num_classes]

    def _counted(self, index):
        """The values of a mask and their pixels, in the file and on the canvas."""
        info = self.image_info[index]
        place = info.get("mask_path"), info.get("page", 0)

        def count():
            image, mask = self.load(index)
            both = mask, self.on_canvas(*self.shrunk(index, (image, mask)))[1]
            noted = [p.hex() for p, places in [*self.palettes.items()] if place in places]
            return [[*zip(*masks.count_values(m).items(), strict=True)] for m in both], noted

        settings = (getattr(self, name) for name in self.counted_by)
        found, noted = self.remember("check", [info], count, *settings)
        for palette in noted:
            self.palettes.setdefault(bytes.fromhex(palette), set()).add(place)
        return found
