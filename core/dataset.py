"""The base class of all data sets: from files to batches."""

import os
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from core.config import IGNORE
from core.imaging import augment, borders
from core.imaging.image import read_image, read_mask
from core.imaging.letterbox import letterbox, letterbox_mask
from core.imaging.mask import WrongValues, count_values, histogram, nothing_to_learn, to_ids
from core.imaging.tiles import surround, surrounded
from core.support import backend
from core.support.errors import UserError
from core.support.threads import mapped

LONGEST_SIDE = 32766  # OpenCV warps no longer ones


class Missing(UserError):
    """A file is not there."""

    kind = "missing"


class SizesDiffer(UserError):
    """A mask does not fit its picture."""

    kind = "of sizes that differ"


class Dataset(keras.utils.PyDataset):
    """Batches of pictures and masks for `fit`, read from files.

    A subclass fills in `image_info`, a list with a dictionary for each picture:
    `{"image_path": ..., "mask_path": ...}`, and `"page"` where the files have several. It may
    replace `read_image`, `read_mask` and `augment`.

    Batch `b` is `(images, masks)`: uint8 `[B, H, W, C]` and uint8 `[B, H, W]`, class ids with 255
    where nothing is known; with `class_weights` or `border_weight` also a float32 `[B, H, W]` of
    the pixels' weights: that of the class (1 without `class_weights`) plus, with `border_weight`,
    what `border_weights` says of the mask in its file; 0 at 255. With a `geometry`, a picture goes
    on around its mask as far as the network sees, beyond the canvas as its mirror image. What is
    drawn at random for a picture depends on the seed, the epoch and the picture alone, not on the
    number of workers. Pass `shuffle=False` to `fit`: the order is drawn here.

    Args:
        target_size: the canvas, `(height, width)`.
        num_classes: number of classes, background included.
        channels: channels of the pictures, 3 or 1.
        crop: `(height, width)` of a random window to cut out of the canvas, or None for all of it.
        repeats: how often an epoch visits each picture.
        shuffle: whether to draw a new order every epoch; None: when `aug` is on.
        seed: of everything that is drawn at random.
        workers: threads that prepare batches.
    """

    batch_size = 4
    aug = False
    class_weights = None  # a weight for each class; with them, batches have pixels' weights, too
    part = (0, 1)  # of several processes that share each batch: which one this is, and how many
    multiple = 1  # batches are filled up to one of this, so that devices can share them
    geometry = None  # of a network that answers for less than it sees, see nets/reach.py
    elastic = False  # whether `aug` deforms half of the samples, after `augment`
    border_weight = False  # whether background between objects weighs more, see borders.py
    ignored_as_background = False  # whether 255, padding among it, is learnt as background
    stated = ""  # how training and validation pictures are told apart, where that is to be said
    listed_in = None  # the list that names the pictures
    reading = "ids"  # what the values of masks mean, see imaging/mask.py

    def __init__(
        self,
        target_size=(320, 320),
        num_classes=21,
        *,
        channels=3,
        crop=None,
        repeats=1,
        shuffle=None,
        seed=0,
        workers=1,
    ):
        super().__init__(workers=workers)
        self.target_size = tuple(target_size)
        self.num_classes = num_classes
        self.channels = channels
        self.crop = crop
        self.repeats = repeats
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.image_info = []

    def __len__(self):
        """Number of batches, the last of which may be smaller."""
        return -(-len(self.image_info) * self.repeats // self.batch_size)

    def __getitem__(self, batch):
        """Returns `(images, masks)`, or `(images, masks, weights)`, of a batch of this epoch."""
        backend.keep_memory()  # `fit` has begun meanwhile
        rows = self.order()[batch * self.batch_size : (batch + 1) * self.batch_size]
        index, count = self.part
        places = np.arange(-(-len(rows) // self.multiple) * self.multiple)[index::count]
        images, masks = map(np.stack, zip(*map(self.sample, rows[places % len(rows)]), strict=True))
        fills = places >= len(rows)
        border = 0
        if self.border_weight:
            masks, border = borders.unpack(masks)
        if self.ignored_as_background:
            masks[masks == IGNORE] = 0
        masks[fills] = IGNORE
        if self.class_weights is None and not self.border_weight:
            return images, masks
        table = np.zeros(256, np.float32)
        table[: self.num_classes] = 1 if self.class_weights is None else self.class_weights
        weights = table[masks] + border
        weights[fills] = 0
        return images, masks, weights

    def on_epoch_end(self):
        """Keras calls this after each epoch, when no worker is reading."""
        self.epoch += 1

    def order(self):
        """Returns the numbers of the samples in the order of this epoch."""
        count = len(self.image_info) * self.repeats
        if self.aug if self.shuffle is None else self.shuffle:
            return np.random.default_rng((self.seed, self.epoch)).permutation(count)
        return np.arange(count)

    def sample(self, number):
        """Returns picture and mask of one sample of this epoch as training sees them.

        With `border_weight`, the mask is one of `borders.pack`.
        """
        image, mask = self.load(number % len(self.image_info))
        if self.border_weight:
            mask = borders.pack(mask)
        rng = np.random.default_rng((self.seed, self.epoch, int(number)))
        if self.aug:
            image, mask = self.augment(image, mask, rng)
        image, mask = letterbox(image, self.target_size), letterbox_mask(mask, self.target_size)
        window = augment.random_crop(mask.shape, rng, self.crop or self.target_size)
        if self.aug and self.elastic and rng.random() < 0.5:
            if not self.geometry:
                return augment.elastic(image, mask, rng, window)
            image, mask = augment.elastic(image, mask, rng)
        if self.geometry:
            return surround(image, self.geometry, window), surrounded(mask, self.geometry, window)
        return image[window], mask[window]

    def augment(self, image, mask, rng):
        """Changes a sample at random; the default suits photographs.

        Args:
            image: uint8 `[H, W, C]`.
            mask: uint8 `[H, W]`, class ids and 255; with `border_weight` uint16, with the pixel's
                weight in the upper byte. Move its pixels, but do not mix or change them: take the
                nearest, and 255 where there is none.
            rng: the sample's own `np.random.Generator`.

        Returns:
            The changed picture and mask, of the same types.
        """
        return augment.photograph(image, mask, rng, self.target_size)

    def read_image(self, index):
        """Reads a picture, uint8 `[H, W, C]`."""
        info = self.image_info[index]
        return read_image(info["image_path"], self.channels, info.get("page", 0))

    def read_mask(self, index):
        """Reads the mask of a picture, uint8 `[H, W]`, class ids and 255."""
        info = self.image_info[index]
        return to_ids(
            read_mask(info["mask_path"], info.get("page", 0)), self.reading, info["mask_path"]
        )

    def name(self, index):
        """Returns a short name of a picture: its file's, with the page where there are several."""
        info = self.image_info[index]
        stem = Path(info["image_path"]).stem
        return f"{stem}:{info['page']}" if "page" in info else stem

    def load(self, index):
        """Reads a picture and its mask and makes sure that they fit each other and the classes.

        Raises:
            UserError: if they do not.
        """
        image, mask = self.read_image(index), self.read_mask(index)
        path = self.image_info[index]["mask_path"]
        if max(image.shape) > LONGEST_SIDE:
            raise UserError(
                f"{self.image_info[index]['image_path']}: is longer than {LONGEST_SIDE} pixels. "
                "Cut it into smaller pictures."
            )
        if mask.shape != image.shape[:2]:
            raise SizesDiffer(
                f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, its picture "
                f"{image.shape[1]}x{image.shape[0]} (width x height). Make them equal."
            )
        if (mask + np.uint8(1)).max() > self.num_classes:  # 255 becomes 0
            raise WrongValues(path, count_values(mask), self.num_classes)
        return image, mask

    def load_counted(self, index):
        """The same, with the pixels of each value in the mask, int64 `[256]`."""
        image, mask = self.load(index)
        return image, mask, histogram(mask)

    @property
    def where(self):
        """The list or the folder that the pictures are from, for messages."""
        return self.listed_in or Path(self.image_info[0]["image_path"]).parent

    def check_files(self, indices=None):
        """Makes sure that files are there, without reading them.

        Args:
            indices: of the pictures; None: all.

        Raises:
            UserError: for the first that is not.
        """
        for index in range(len(self.image_info)) if indices is None else indices:
            for kind, name in (("picture", "image_path"), ("mask", "mask_path")):
                path = self.image_info[index][name]
                if not os.path.isfile(path):
                    stem = Path(path).stem
                    listed = f", but {self.listed_in} lists '{stem}'" if self.listed_in else ""
                    raise Missing(f"{path}: there is no such {kind}{listed}. Add the file.")

    def check(self):
        """Reads every picture and mask once, so that training does not stop over one of them later.

        Returns:
            Pixels of each class, int64 `[num_classes]`.

        Raises:
            UserError: for the first pair that cannot be used, and if the masks say nothing.
        """
        if not self.image_info:
            raise UserError("The data set has no pictures: its image_info is empty.")
        count = len(self.image_info)
        pixels = np.zeros(256, np.int64)
        loaded = mapped(self.load_counted, range(count), 4 * self.workers, max(1, self.workers))
        for _, _, counts in tqdm(loaded, "Checking the data", count, leave=False, disable=None):
            pixels += counts
        empty = nothing_to_learn(pixels, self.num_classes, self.where)
        if empty:
            raise empty
        return pixels[: self.num_classes]
