"""From settings to data sets."""

from pathlib import Path

from core.imaging import augment
from core.ISBIdataset import ISBIDataset
from core.sources.folder import FolderDataset
from core.sources.sample import sample_folder
from core.support import devices, processes
from core.support.errors import UserError
from core.VOCdataset import MASK_FOLDERS, VOCDataset
from nets.reach import geometry
from nets.unet import UNet


class SampleDataset(VOCDataset):
    """The sample; its patterns would not survive a blur, so it is only turned and flipped."""

    def augment(self, image, mask, rng):
        """Turns and flips at random."""
        return augment.orient(image, mask, rng)


class PaperISBIDataset(ISBIDataset):
    """Slices with the U-Net paper's augmentation."""

    elastic = False

    def augment(self, image, mask, rng):
        """Turns, flips and deforms at random."""
        return augment.paper(image, mask, rng)


def open_dataset(config, split, training=False, strict=True, reading=None, **shared):
    """Opens a part of the data that the settings name.

    Args:
        config: a `Config`.
        split: "train", "val", or None for all pictures of an own folder.
        training: whether to shuffle, repeat, augment and crop as the settings say.
        strict: whether a file that is not there is an error at once.
        reading: what the values of an own folder's masks mean; None: found out from the masks.
        **shared: more of `Dataset`'s arguments.

    Raises:
        UserError: if the data is not there or cannot be used.
    """
    options = {
        "batch_size": config.batch_size,
        "target_size": config.size,
        "num_classes": config.num_classes,
        "channels": config.channels,
        "seed": config.seed,
        "workers": config.workers,
        "strict": strict,
        **shared,
    }
    if training:
        options |= {
            "aug": config.aug,
            "shuffle": True,
            "crop": config.crop,
            "repeats": config.repeats,
            "border_weight": config.border_weight,
            "ignored_as_background": config.ignored_as_background,
        }
    if config.dataset == "sample":
        folder = sample_folder()
    else:
        folder = Path(config.data)
        if not folder.is_dir():
            raise UserError(
                f"{folder}: there is no such folder. Name the folder of the data with --data."
            )
    listing = config.train_list if split == "train" else config.val_list
    if config.dataset == "folder":
        options |= {"val_fraction": config.val_fraction, "reading": reading}
        other = config.val_list if split == "train" else config.train_list
        return FolderDataset(folder, split, listing=listing, other_listing=other, **options)
    if config.dataset == "isbi":
        kind = PaperISBIDataset if config.architecture == "paper" else ISBIDataset
        return kind(folder, split=split, val_fraction=config.val_fraction, **options)
    kind = SampleDataset if config.dataset == "sample" else VOCDataset
    return kind(
        listing or _default_list(folder, split),
        root=folder,
        class_ids=[config.class_names.index(name) for name in config.classes] or None,
        **options,
    )


def open_both(config, strict=True):
    """Opens training and validation data for `fit` on all devices; see above.

    Masks of both are read in the same way.
    """
    shared = {"strict": strict, "part": processes.process(), "multiple": devices.count()}
    if config.architecture == "paper":  # a narrow one sees as far as a wide one
        network = UNet((None, None, 1), 2, filters=1, architecture="paper")
        shared["surroundings"] = geometry(network)
    dataset = open_dataset(config, "train", training=True, **shared)
    return dataset, open_dataset(config, "val", reading=dataset.reading, **shared)


def _default_list(folder, split):
    """SBD's list where its masks are, else VOC's own."""
    for lists, masks in MASK_FOLDERS.items():
        if (folder / masks).is_dir():
            return folder / "ImageSets" / lists / f"{split}.txt"
    raise UserError(
        f"{folder}: holds neither {' nor '.join(MASK_FOLDERS.values())}. --data must name the "
        "folder that holds JPEGImages/ and one of them."
    )
