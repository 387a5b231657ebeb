"""The base class of all data sets: from files to batches."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from core import augment
from core.config import IGNORE
from core.errors import UserError
from core.image import read_image, read_mask
from core.letterbox import letterbox, letterbox_mask

LONGEST_SIDE = 32766  # OpenCV warps no longer ones


class Dataset(keras.utils.PyDataset):
    """Batches of pictures and masks for `fit`, read from files.

    A subclass fills in `image_info`, a list with a dictionary for each picture:
    `{"image_path": ..., "mask_path": ...}`, and `"page"` where the files have several. It may
    replace `read_image`, `read_mask` and `augment`.

    Batch `b` is `(images, masks)`: uint8 `[B, H, W, C]` and uint8 `[B, H, W]`, class ids with 255
    where nothing is known. What is drawn at random for a picture depends on the seed, the epoch and
    the picture alone, not on the number of workers. Pass `shuffle=False` to `fit`: the order is
    drawn here.

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
        """Returns `(images, masks)` of a batch of the current epoch."""
        rows = self.order()[batch * self.batch_size : (batch + 1) * self.batch_size]
        images, masks = zip(*map(self.sample, rows), strict=True)
        return np.stack(images), np.stack(masks)

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
        """Returns picture and mask of one sample of this epoch as training sees them."""
        image, mask = self.load(number % len(self.image_info))
        rng = np.random.default_rng((self.seed, self.epoch, int(number)))
        if self.aug:
            image, mask = self.augment(image, mask, rng)
        image, mask = letterbox(image, self.target_size), letterbox_mask(mask, self.target_size)
        if self.crop:
            image, mask = augment.crop_window(image, mask, rng, self.crop)
        return image, mask

    def augment(self, image, mask, rng):
        """Changes a sample at random; the default suits photographs."""
        return augment.photograph(image, mask, rng)

    def read_image(self, index):
        """Reads a picture, uint8 `[H, W, C]`."""
        info = self.image_info[index]
        return read_image(info["image_path"], self.channels, info.get("page", 0))

    def read_mask(self, index):
        """Reads the mask of a picture, uint8 `[H, W]`, class ids and 255."""
        info = self.image_info[index]
        return read_mask(info["mask_path"], info.get("page", 0))

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
            raise UserError(
                f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, its picture "
                f"{image.shape[1]}x{image.shape[0]} (width x height). Make them equal."
            )
        wrong = mask[(mask >= self.num_classes) & (mask != IGNORE)]
        if wrong.size:
            raise UserError(
                f"{path}: pixel value {wrong[0]} is neither a class (0..{self.num_classes - 1}) "
                f"nor {IGNORE} (ignored). Write class ids into the mask, or name all classes."
            )
        return image, mask

    def check(self):
        """Reads every picture and mask once, so that training does not stop over one of them later.

        Raises:
            UserError: for the first pair that cannot be used, and if no pixel has a class.
        """
        if not self.image_info:
            raise UserError("The data set has no pictures: its image_info is empty.")
        count = len(self.image_info)
        known = False
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            pairs = pool.map(self.load, range(count))
            try:
                for _, mask in tqdm(pairs, "Checking the data", count, leave=False, disable=None):
                    known = known or (mask != IGNORE).any()
            finally:
                pool.shutdown(cancel_futures=True)
        if not known:
            raise UserError(
                f"{self.image_info[0]['mask_path']} and all other masks hold nothing but {IGNORE}, "
                "which means ignored. Objects need the ids of their classes, 1 and up."
            )
