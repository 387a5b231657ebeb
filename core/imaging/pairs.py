"""Images and their masks, found by name."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

from core.support.errors import UserError, few

SUFFIXES = {
    ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip


def plain_name(path: Path | str) -> str:
    """Returns a path as a name: without its suffix, and with letters in Unicode's composed form."""
    return unicodedata.normalize("NFC", Path(path).with_suffix("").as_posix())


def images_in(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Returns the images in and below a folder by their names in it, and the other files.

    Hidden files are left out.
    """
    images, others = {}, []
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(top, name) for name in sorted(files) if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                images.setdefault(plain_name(path.relative_to(folder)), []).append(path)
            else:
                others.append(path)
    return images, others


def only(paths: list[Path]) -> Path:
    """Returns the path of a list; a UserError if it has several."""
    if len(paths) > 1:
        raise UserError(f"{paths[0]} and {paths[1]}: two files of one name. Remove one.")
    return paths[0]


def pair(images: Path, masks: Path) -> tuple[list[dict], str]:
    """Finds the images in and below a folder, and the mask of each by its name.

    An image in a subfolder has its mask in a subfolder of the same name, or in `masks` itself.

    Returns:
        Entries of `Dataset.image_info`, and sentences on the files that are left out.

    Raises:
        UserError: if there are no images, or two files of one name.
    """
    found, others = images_in(images)
    of_name, strange = images_in(masks)
    if not found:
        raise UserError(f"{images}: this folder has no images. Add them.")
    stems = Counter(Path(name).name for name in found)
    suffix = next((paths[0].suffix for paths in of_name.values()), ".png")
    infos = []
    for name, paths in found.items():
        stem = Path(name).name
        mask = of_name.get(name) or (of_name.get(stem) if stems[stem] == 1 else None)
        mask = only(mask or [masks / f"{name}{suffix}"])
        infos.append({"image_path": only(paths), "mask_path": mask, "name": name})
    used = {info["mask_path"] for info in infos}
    unused = [path for paths in of_name.values() for path in paths if path not in used]
    left_out = ("No images", others + strange), ("Masks without an image", unused)
    sentences = [
        f"{what}, so left out: {few([os.path.relpath(path, images.parent) for path in paths])}."
        for what, paths in left_out
        if paths
    ]
    return infos, " ".join(sentences)
