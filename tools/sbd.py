"""The augmented VOC: SBD's masks beside VOC's own, in VOC's layout."""

import os
import shutil
from pathlib import Path

from tqdm import tqdm

from tools.archive import BadArchive, check_name

MASKS, LISTS = "SegmentationClassAug", "SegmentationAug"


def read_list(path: Path) -> list[str]:
    """Returns the images' ids in a list, one a line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def augment_voc(voc: Path, sbd: Path, staging: Path) -> None:
    """Adds `SegmentationClassAug/` and `ImageSets/SegmentationAug/` to VOC 2012.

    The training list has the images of VOC's training list and all of SBD's, without those of
    VOC's validation list, which stays as it is: nothing is both trained on and validated with.

    `voc` is the folder with JPEGImages/, `sbd` that with cls/, img/, train.txt and val.txt, and
    `staging` an empty folder to work in, on the same disk as `voc`.

    Raises:
        BadArchive: if SBD lacks a mask or an image, or a mask cannot be read.
    """
    val = read_list(voc / "ImageSets/Segmentation/val.txt")
    train = {*read_list(voc / "ImageSets/Segmentation/train.txt")}
    train |= {*read_list(sbd / "train.txt"), *read_list(sbd / "val.txt")}
    ids = {"train": sorted(train - {*val}), "val": val}
    masks, lists = staging / MASKS, staging / LISTS
    masks.mkdir()
    lists.mkdir()
    every = [*ids["train"], *ids["val"]]
    for split, names in ids.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    for name in tqdm(every, desc="masks", unit="mask", disable=None, leave=False):
        check_name(name)
        own = voc / "SegmentationClass" / f"{name}.png"
        if own.is_file():  # has the borders that are not looked at, which SBD's has not
            shutil.copyfile(own, masks / own.name)
        else:
            _draw_mask(sbd / "cls" / f"{name}.mat", masks / own.name)
    # Images, lists and masks are added in this order: masks without the rest are of no use.
    files = (f"{name}.jpg" for name in every)
    lacking = [name for name in files if not (voc / "JPEGImages" / name).is_file()]
    for name in lacking:
        if not (sbd / "img" / name).is_file():
            raise BadArchive(f"has no img/{name}")
    for name in lacking:
        os.replace(sbd / "img" / name, voc / "JPEGImages" / name)
    (voc / "ImageSets" / LISTS).mkdir(exist_ok=True)
    for path in lists.iterdir():
        os.replace(path, voc / "ImageSets" / LISTS / path.name)
    masks.rename(voc / MASKS)


def _draw_mask(source, path):
    """Writes the ids in one of SBD's .mat files as a palette PNG."""
    import numpy as np
    from scipy.io import loadmat

    from core.imaging.draw import palette_image, voc_palette, write_image

    try:
        values = loadmat(source)["GTcls"]["Segmentation"][0, 0]
        mask = values.astype(np.uint8)
        if mask.ndim != 2 or (mask != values).any():
            raise ValueError(f"{values.dtype} of shape {values.shape}")
    except Exception as error:  # a decoder raises whatever its parser runs into
        raise BadArchive(f"has no mask in cls/{source.name} ({error})") from error
    write_image(path, palette_image(mask, voc_palette()))
