"""`--check-data`: the problems of a data set, found before hours are spent on training."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from core.config import IGNORE
from core.dataset import Dataset, Missing, SizesDiffer
from core.imaging.intensity import find_outside, in_words
from core.imaging.mask import WrongValues, check_objects, explain
from core.support.errors import UserError
from core.support.threads import mapped


@dataclasses.dataclass
class Survey:
    """The contents of one part of a data set."""

    problems: list  # a UserError for each pair that cannot be used
    shapes: list  # height and width of each image
    indices: dict  # the images' indices by shape and a hash of every eighth row
    pixels: np.ndarray  # pixels of each mask value, int64 `[256]`
    images: np.ndarray  # images with each mask value, int64 `[256]`


def survey(dataset: Dataset) -> Survey:
    """Reads all pairs of a data set, in threads."""
    count = len(dataset.image_info)
    found = Survey([], [], defaultdict(list), np.zeros(256, np.int64), np.zeros(256, np.int64))

    def examine(index):
        try:
            dataset.check_files([index])
            image, _, pixels = dataset.load_counted(index)
        except UserError as error:
            return error
        return image.shape[:2], hash(image[::8].tobytes()), pixels

    results = mapped(examine, range(count), 4 * dataset.workers, dataset.workers)
    progress = tqdm(results, "Checking the data", count, leave=False, disable=None)
    for index, result in enumerate(progress):
        if isinstance(result, UserError):
            found.problems.append(result)
            continue
        shape, content, pixels = result
        found.shapes.append(shape)
        found.indices[shape, content].append(index)
        found.pixels += pixels
        found.images += pixels > 0
    return found


def check_data(parts: dict[str, Dataset], names: Sequence[str]) -> None:
    """Surveys the parts "train" and "val" and reports; a UserError if training would fail."""
    surveys = {part: survey(dataset) for part, dataset in parts.items()}
    for (part, dataset), found in zip(parts.items(), surveys.values(), strict=True):
        stated = f" {dataset.stated} Masks are read as {dataset.reading}." if dataset.stated else ""
        print(f"\n{part}: {dataset.where}.{stated}", *found.problems, sep="\n")
        wrong = [problem.counts for problem in found.problems if isinstance(problem, WrongValues)]
        if wrong and len(found.problems) > 1:
            print(f"All together: {explain(sum(wrong, Counter()), len(names))}")
        print(_table(found, names))
        intensity = dataset.find_intensity()
        share = find_outside(dataset.image_info, intensity, dataset.workers)
        outside = "" if share is None else f" {share:.2%} of the values lie outside."
        print(f"{in_words(intensity)}{outside}")
    twice = _duplicates(parts, surveys)
    print(f"\nval images also in train: {len(twice)}", *twice[:20], sep="\n  ")
    problems = [problem for found in surveys.values() for problem in found.problems]
    if problems:
        others = f" And {len(problems) - 1} more files." if len(problems) > 1 else ""
        raise UserError(f"Training would fail. {problems[0]}{others}")
    for part, found in surveys.items():
        check_objects(found.pixels, len(names), parts[part].where)


def _duplicates(parts, surveys):
    """Lines such as "cat1 = cat7": a training image, and a validation image that equals it."""
    train, val = parts["train"], parts["val"]
    lines = []
    for key, indices in surveys["val"].indices.items():
        for index in indices:
            for other in surveys["train"].indices[key]:  # equal hashes prove nothing
                if np.array_equal(train.read_image(other), val.read_image(index)):
                    lines.append(f"{train.name(other)} = {val.name(index)}")
                    break
    return sorted(lines)


def _table(found, names):
    """A part's sizes, and a line for each class."""
    usable, known = len(found.shapes), max(1, found.pixels[: len(names)].sum())
    kinds = Counter(getattr(problem, "kind", "unreadable") for problem in found.problems)
    shown = ("unreadable", Missing.kind, SizesDiffer.kind, WrongValues.kind)
    lines = [f"{usable} images with masks; " + ", ".join(f"{kinds[kind]} {kind}" for kind in shown)]
    if not usable:
        return lines[0]
    sides = zip(("height", "width"), np.transpose(found.shapes), strict=True)
    sizes = (f"{side} {v.min()} to {v.max()}, median {np.median(v):g}" for side, v in sides)
    width = max(len("class"), *map(len, names))
    lines += ["; ".join(sizes), f"{'class':<{width}}  {'images':>9}  {'pixels':>15}  {'share':>6}"]
    for name, images, pixels in zip(names, found.images, found.pixels, strict=False):
        lines.append(f"{name:<{width}}  {images:>9,}  {pixels:>15,}  {pixels / known:>6.1%}")
    ignored, share = found.pixels[IGNORE], found.pixels[IGNORE] / found.pixels.sum()
    absent = [name for i, name in enumerate(names) if not found.pixels[i]]
    lines += [
        f"255 (ignored): {ignored:,} pixels in {found.images[IGNORE]:,} images, {share:.1%} of all",
        f"no pixel of: {', '.join(absent) or '-'}",
    ]
    return "\n".join(lines)
