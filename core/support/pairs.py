"""Images and their masks, found by name."""

import codecs
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from core.support.errors import UserError, few, summary

SUFFIXES = {
    ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip


def plain_name(path: Path | str) -> str:
    """Returns a path as a name: without its suffix, and with letters in Unicode's composed form."""
    return unicodedata.normalize("NFC", os.path.splitext(Path(path).as_posix())[0])


def images_in(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Returns the images in and below a folder by their names in it, and the other files.

    Hidden files are left out.
    """
    images, others, seen = {}, [], set()
    for top, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(top) in seen:  # a link that leads back
            folders[:] = []
            continue
        seen.add(os.path.realpath(top))
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


class Named:
    """The images of a data set, see `Dataset.image_info`, by their names, and their files."""

    image_info = ()
    division = ""  # a sentence on how training and validation images are told apart
    drawn = False  # whether the seed told them apart
    notes = ""  # sentences on what else was found out about the files
    listed_in = None  # the list that names the images
    index = None  # remembers what is known about the files, see `core.sources.index`

    def name(self, index: int) -> str:
        """Returns the name of an image: `info["name"]` or its file's, with the page of a stack."""
        info = self.image_info[index]
        name = info.get("name") or plain_name(Path(info["image_path"]).name)
        return f"{name}:{info['page']}" if "page" in info else name

    @property
    def names(self) -> list[str]:
        """The names of all images."""
        return list(map(self.name, range(len(self.image_info))))

    @property
    def stated(self) -> str:
        """What was found out about the files, in sentences."""
        return f"{self.division} {self.notes}".strip()

    def keep(self, split: dict[str, list[str]], part: str, strict: bool = True) -> None:
        """Keeps the images that a run's split names for a part, see `kept`."""
        self.image_info, told = kept(self.image_info, self.names, split, part, strict, self.where)
        self.division, self.drawn = f"The images are those of the run's {told}", False

    @property
    def where(self):
        """The list or the folder that the images are from, for messages."""
        return self.listed_in or Path(self.image_info[0]["image_path"]).parent

    def check_files(self) -> None:
        """Raises a `Missing` if files are not there; they are not read."""
        problems = missing(self.image_info, self.listed_in)
        if problems:
            raise Missing(summary(problems.values()))

    def remember(self, kind: str, infos: list[dict], function: Callable, *settings):
        """Returns the function's result from the index, if that knows it, see `Index.remember`."""
        index = self.index
        return index.remember(kind, infos, function, *settings) if index else function()


def kept(infos: list, names: list, split: dict, part: str, strict: bool, where) -> tuple:
    """Returns the images that a run's split names for a part, in its order.

    Args:
        infos: entries of `Dataset.image_info`.
        names: the images' names.
        split: the names of "train" and "val".
        part: one of these.
        strict: whether it is a `Missing` if one is not there.
        where: the folder or list that lacks it then.

    Returns:
        The entries, and what to say of the split: its file, and what is left out.
    """
    of_name = {}
    for name, info in zip(names, infos, strict=True):
        if of_name.setdefault(name, info) != info:
            raise UserError(
                f"{info['image_path']} and {of_name[name]['image_path']}: two images of the name "
                f"{name}. Rename one."
            )
    lacking = [name for name in split[part] if name not in of_name]
    if lacking and strict:
        raise Missing(
            f"{where}: lacks {few(lacking)}, {len(lacking)} of {len(split[part])} images of this "
            "run. Add them, or name the folder that has them with --data."
        )
    new = sorted(of_name.keys() - {*split["train"], *split["val"]})
    told = "split.json."
    for what, left_out in (("New", new), ("Not there any more", lacking)):
        told += f" {what}, so left out: {few(left_out)}." if left_out else ""
    return [of_name[name] for name in split[part] if name in of_name], told


class Missing(UserError):
    """A file is not there."""

    kind = "missing"


def missing(infos: list[dict], listed_in=None) -> dict[int, Missing]:
    """Looks for the files of `Dataset.image_info`; returns errors by the entries' numbers.

    An error names the list that has the image, `listed_in`, if there is one.
    """
    pairs = [(Path(info["mask_path"]), Path(info["image_path"])) for info in infos]
    lost = {i: path for i, pair in enumerate(pairs) for path in pair if not os.path.isfile(path)}
    others = {path for i, pair in enumerate(pairs) for path in pair if i not in lost}
    masks = [i for i, path in lost.items() if path == pairs[i][0]]
    hint = _namesakes(*pairs[masks[0]], others) if masks else ""  # the other ones are named alike
    for index, path in lost.items():
        kind, more = ("mask", hint) if path == pairs[index][0] else ("image", "")
        listed = f", but {listed_in} lists '{path.stem}'" if listed_in else ""
        lost[index] = Missing(f"{path}: there is no such {kind}{listed}. Add the file.{more}")
    return lost


def _namesakes(path: Path, image: Path, others: set[Path]) -> str:
    """Returns a sentence on files that may be the missing mask of an image.

    Of a missing `x.png` that is, say, `x_mask.png`, beside it or beside the image. The `others` are
    files that are something else. Empty if there is no such file.
    """
    pattern = re.compile(rf"(.*[\W_])??{re.escape(path.stem)}([\W_].*)", re.DOTALL)
    for folder in filter(Path.is_dir, (path.parent, image.parent)):
        names = sorted(p.name for p in folder.iterdir() if p not in others and p != image)
        found = next(filter(None, map(pattern.fullmatch, names)), None)
        if found:
            start, end = found[1] or "", found[2]
            count = sum(name.startswith(start) and name.endswith(end) for name in names)
            are = "1 file is" if count == 1 else f"{count} files are"
            return (
                f" {are} named like {folder / found[0]}: masks need the names of their images, in "
                f"{path.parent}."
            )
    return ""


def read_list(path: Path) -> list[str]:
    """Returns the lines of a text file, without blank ones; raises a UserError if none is left.

    Lists of Windows may be in UTF-16, and have backslashes between folders.
    """
    try:
        data = path.read_bytes()
        wide = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        lines = data.decode("utf-16" if wide else "utf-8-sig").replace("\\", "/").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: this list cannot be read ({error}). Name the folder with --data, or the "
            "lists with --train-list and --val-list."
        ) from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise UserError(f"{path}: this list is empty. It needs one image a line.")
    return lines
