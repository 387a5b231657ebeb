"""`--check-data`: the problems of a data set, found before hours are spent on training."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.config import IGNORE
from core.dataset import Dataset
from core.imaging.draw import voc_palette, write_image
from core.imaging.image import SizesDiffer
from core.imaging.intensity import find_outside, in_words
from core.imaging.letterbox import padded
from core.imaging.mask import WrongValues, check_objects, check_palettes, explain, histogram
from core.prediction.sheets import outlines
from core.support.errors import UserError, summary, together
from core.support.files import Missing, missing
from core.support.threads import attempts


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
    lost = missing(dataset.image_info, dataset.listed_in)
    found = Survey([], [], defaultdict(list), np.zeros(256, np.int64), np.zeros(256, np.int64))

    def examine(index):
        if index in lost:
            return lost[index]
        image, mask = dataset.load(index)
        return image.shape[:2], hash(image[::8].tobytes()), histogram(mask)

    count = len(dataset.image_info)
    results = attempts(examine, range(count), "Checking the data", dataset.workers)
    for index, result in enumerate(results):
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
        print(f"\n{part}: {dataset.where}. {dataset.stated}".rstrip())
        print(*together(found.problems), sep="\n", end="\n" if found.problems else "")
        wrong = [problem for problem in found.problems if isinstance(problem, WrongValues)]
        if wrong and len(found.problems) > 1:
            counts = sum((problem.counts for problem in wrong), Counter())
            cause = wrong[0].cause if all(problem.cause for problem in wrong) else ""
            print(f"All together: {explain(counts, len(names), cause)}")
        print(_table(found, names))
        intensity = dataset.find_intensity()
        share = find_outside(dataset.image_info, intensity, dataset.workers)
        outside = "" if share is None else f" {share:.2%} of the values lie outside."
        print(f"{in_words(intensity)}{outside}")
    twice = _duplicates(parts, surveys)
    print(f"\nval images also in train: {len(twice)}", *twice[:20], sep="\n  ")
    problems = [problem for found in surveys.values() for problem in found.problems]
    if problems:
        raise UserError(f"Training would fail. {summary(problems)}")
    check_palettes(parts["train"].palettes | parts["val"].palettes, parts["train"].where)
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


def draw_check(
    path: Path, dataset: Dataset, names: Sequence[str], plan: str = "", count: int = 12
) -> None:
    """Draws images as the network will see them, with the outlines of their masks, as a PNG."""
    palette = dataset.palette or voc_palette()
    samples = max(len(dataset.order()), len(dataset.image_info))
    numbers = np.unique(np.linspace(0, samples - 1, min(count, samples)).round().astype(int))
    rows = []
    for number in numbers.tolist():
        image, mask = dataset.sample(number)
        image, _ = padded(
            image, image[..., 0], mask.shape
        )  # without an unpadded one's surroundings
        rows.append((image, mask, dataset.name(number % len(dataset.image_info))))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, outlines(rows, names, palette))
    print(f"\n{plan}".rstrip(), f"{path}: images as the network will see them.", sep="\n")
