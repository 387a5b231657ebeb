"""Images and their masks, found by name."""

import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from core.support.errors import UserError, few, reraise

SUFFIXES = {
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
_JPEGS = {".jpg", ".jpeg", ".jpe", ".jfif"}
MASKS = (
    "(?:masks?(?:_png)?|labels?|annotations?|gts?|ground[ _-]?truths?|1st_manual|manual1?|"
    "segmentations?)"
)
_WORDS = re.compile(rf"(?i)(?<![^\W\d_])(?:{MASKS}|seg|annot|manual)(?![^\W\d_])")


def plain_name(path: Path | str) -> str:
    """Returns a path as a name: without its suffix, and with letters in Unicode's composed form."""
    return unicodedata.normalize("NFC", os.path.splitext(Path(path).as_posix())[0])


def walk(top: Path, but: Path | None = None) -> Iterator[tuple[Path, list[Path]]]:
    """Yields each folder in and below a folder with its files, in order; links are followed.

    Hidden ones, and the folder whose real path is `but`, are left out. It is an OSError if one
    cannot be read: it would look like an empty one.
    """
    seen = {but}
    for folder, folders, files in os.walk(top, onerror=reraise, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = Path(os.path.realpath(folder))
        if real in seen:  # or a link that leads back
            folders[:] = []
            continue
        seen.add(real)
        yield Path(folder), [Path(folder, n) for n in sorted(files) if not n.startswith(".")]


def images_in(folder: Path, but: Path | None = None) -> tuple[dict[str, list[Path]], list[Path]]:
    """Returns the images in and below a folder, not in `but`, by name, and the other files."""
    images, others = {}, []
    for _, files in walk(folder, but and Path(os.path.realpath(but))):
        for path in files:
            if path.suffix.lower() in SUFFIXES:
                images.setdefault(plain_name(path.relative_to(folder)), []).append(path)
            else:
                others.append(path)
    return images, others


def told_apart(found: dict[str, list[Path]]) -> tuple[dict, dict]:
    """Tells masks from images where they lie in one folder.

    Masks have a word such as mask in their names, or the whole name of an image and more; or they
    are no JPEG files, and the images of the same names are.

    Args:
        found: paths by name, see `images_in`.

    Returns:
        The images and the masks, likewise.
    """
    images, masks = {}, {}
    for name, paths in found.items():
        lossy = [path for path in paths if path.suffix.lower() in _JPEGS]
        if len(paths) == 2 and len(lossy) == 1:
            images[name] = lossy
            masks[name] = [path for path in paths if path not in lossy]
    if masks:
        return found | images, masks
    names = {name for name in found if _WORDS.search(Path(name).name)}
    if len(names) in (0, len(found)):
        ends = {name: [m.start() for m in re.finditer(r"[\W_]", name)] for name in found}
        names = {name for name in found if any(name[:end] in found for end in ends[name])}
    images = {name: paths for name, paths in found.items() if name not in names}
    return images, {name: paths for name, paths in found.items() if name in names}


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
        UserError: as `match` does.
    """
    found, others = images_in(images)
    of_name, strange = images_in(masks)
    infos, rule, left_out = match(found, of_name, images, masks, others + strange)
    alike = all(plain_name(i["mask_path"].name) == Path(i["name"]).name for i in infos)
    said = "" if alike and not any(rule) else f"{say(infos, rule, images, masks, images.parent)} "
    return infos, f"{said}{left_out}".strip()


def match(found: dict, of_name: dict, images: Path, masks: Path, others: list) -> tuple:
    """Finds the mask of each image by its name, see `_find_rule`.

    Args:
        found: paths of the images by name, see `images_in`.
        of_name: paths of the masks by name.
        images: their folder, for messages.
        masks: the folder of the masks.
        others: files that are no images.

    Returns:
        Entries of `Dataset.image_info`, the rule, and sentences on the files that are left out.

    Raises:
        UserError: if there are no images, two files of one name, or names that do not go together.
    """
    if not found:
        raise UserError(f"{images}: this folder has no images. Add them.")
    stems = Counter(Path(name).name for name in found)
    tried = {  # an image's mask may be named like the image with its folder, its suffix, or alone
        name: [name, name + paths[0].suffix] + [stem] * (stems[stem] == 1)
        for name, paths in found.items()
        for stem in [Path(name).name]
    }
    rule = _find_rule(tried, of_name, masks)
    suffix = next((paths[0].suffix for paths in of_name.values()), ".png")
    infos, used = [], {}
    for name, paths in found.items():
        own = _renamed(tried[name], rule, of_name)
        lacking = next(_renamings(tried[name], rule), name)
        mask = only(of_name[own] if own else [masks / f"{lacking}{suffix}"])
        image = only(paths)
        if mask == image:
            raise UserError(
                f"{image}: its mask is not told apart from it by name. Put masks into a folder of "
                "their own, and name it with --masks DIR."
            )
        if own and used.setdefault(mask, image) != image:
            raise UserError(f"{mask}: is named like {used[mask]} and like {image}. Rename one.")
        infos.append({"image_path": image, "mask_path": mask, "name": name})
    if not used and of_name and stems.keys().isdisjoint(of_name):
        raise UserError(
            f"{masks}: no name there fits an image. Images are {_examples(found)}; masks are "
            f"{_examples(of_name)}. A mask needs its image's name, with the same beginning and end "
            "around it in all masks."
        )
    unused = [path for paths in of_name.values() for path in paths if path not in used]
    alone = []
    if images == masks and used:  # a folder where no image has a mask is that of a test
        known = {image.parent for image in used.values()}
        alone = [info["image_path"] for info in infos if info["image_path"].parent not in known]
        infos = [info for info in infos if info["image_path"].parent in known]
    left_out = ("No images", others), ("Masks without an image", unused)
    left_out += (("Images in folders without masks", alone),)
    sentences = [
        f"{what}, so left out: {few([os.path.relpath(path, images.parent) for path in paths])}."
        for what, paths in left_out
        if paths
    ]
    return infos, rule, " ".join(sentences)


def _find_rule(tried, of_name, masks):
    """Finds what stands before and behind the key that an image and its mask share.

    A rule is what all images have before and behind it, and what their masks have. Names are cut
    between words, numbers and separators only: 10 and 11 do not share a 1. The rule that finds
    most masks and cuts least wins; without a cut, names are equal. A rule with cuts must find masks
    of most images, or use most masks where these are few. If numbers are cut of both, they must be
    the same: s1_NAME is no image of s2_NAME.
    """
    sample = [*tried.values()][:: -(-len(tried) // 100)]
    names = dict.fromkeys([*tried, *(Path(name).name for name in tried)])
    fewest = min(len(tried), len(of_name))
    starts_ends = *_shared(names, len(tried) - 1), *_shared(of_name, fewest / 2)
    found = {}  # what rules find, with the best of the rules that find it
    for rule in itertools.product(*starts_ends):
        before, behind, *added = rule
        numbers = [re.findall(r"\d+", " ".join(part)) for part in (rule[:2], added)]
        key = sample[0][0][len(before) :].removesuffix(behind)
        lone = len(tried) == 1 and (before or behind) and not re.search(r"\d", key)
        if not lone and (numbers[0] == numbers[1] or not all(numbers)):
            own = tuple(_renamed(names, rule, of_name) for names in sample)
            score = own.count(None), len(before + behind), len("".join(added))
            found[own] = min(found.get(own, (score, rule)), (score, rule))
    (lost, cut, more), rule = min(found.values())
    masked = sum(_renamed(names, rule, of_name) is not None for names in tried.values())
    if not cut + more or 2 * masked <= fewest:
        return "", "", "", ""
    rivals = [own for own, (score, _) in found.items() if score[:2] == (lost, cut) and more]
    rivals = prefer_first(rivals)
    if len(rivals) > 1:
        raise UserError(
            f"{masks}: an image has several masks there, such as "
            f"{few([next(filter(None, own)) for own in rivals])}. Leave masks of one kind there, "
            "or name their folder with --masks DIR."
        )
    return found[rivals[0]][1] if rivals else rule


def prefer_first(names: list) -> list:
    """Returns the names that say that a first person drew the masks (1st_manual), or else all."""
    return [name for name in names if re.search(r"(?<!\d)1st|manual1", str(name))] or names


def _shared(names, least):
    """The most frequent beginnings and ends, whole words or numbers, that more names have."""
    counts = Counter(), Counter()
    for name in names:
        parts = re.findall(r"\d+|[^\W\d_]+?(?=[A-Z][a-z]|[\W\d_]|$)|[\W_]", name)
        for cut in range(1, len(parts)):
            counts[0]["".join(parts[:cut])] += parts[cut].isalnum()  # the key has no separator
            counts[1]["".join(parts[cut:])] += parts[cut - 1].isalnum()  # at its ends
    return [["", *(p for p, n in count.most_common(12) if n > least)] for count in counts]


def _renamings(names, rule):
    """The names of the mask of an image of these names."""
    before, behind, start, end = rule
    for name in names:
        stop = len(name) - len(behind)
        if name.startswith(before) and name.endswith(behind) and len(before) < stop:
            yield f"{start}{name[len(before) : stop]}{end}"


def _renamed(names, rule, of_name):
    """The first of these names that a mask has, or None."""
    return next((name for name in _renamings(names, rule) if name in of_name), None)


def say(infos: list[dict], rule: tuple, images: Path, masks: Path, base: Path) -> str:
    """Says where images and masks are, seen from a folder, and how their names go together."""
    before, behind, start, end = rule
    kinds = ({Path(info[f"{kind}_path"]).suffix for info in infos} for kind in ("image", "mask"))
    image, mask = (suffixes.pop() if len(suffixes) == 1 else ".*" for suffixes in kinds)
    if all(Path(info["mask_path"]).stem.endswith(Path(info["image_path"]).name) for info in infos):
        end = f"{image}{end}"  # NAME.jpg.png
    named = f" as {before}NAME{behind}{image}" if before or behind else ""
    where = [f"{os.path.relpath(path, base)}/".removeprefix("./") for path in (images, masks)]
    there = f"in {where[1]}" if images != masks else "beside them"
    start = f"{len(infos)} images{f' in {where[0]}' if where[0] else ''}{named}"
    return f"{start}, masks {there} as {rule[2]}NAME{end}{mask}."


def _examples(names):
    """Names up to three of the files."""
    return few([Path(paths[0]).name for paths in names.values()])
