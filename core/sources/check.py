"""What --check-data finds out about a data set before hours are spent on it."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
from tqdm import tqdm

from core.config import IGNORE
from core.dataset import Missing, SizesDiffer
from core.imaging.mask import WrongValues, explain, nothing_to_learn
from core.support.errors import UserError
from core.support.threads import mapped


@dataclasses.dataclass
class Survey:
    """What is in a part of a data set.

    Attributes:
        problems: a UserError for each pair that cannot be used.
        pixels: pixels of each value of the masks, int64 `[256]`.
        pictures: pictures that have each value, int64 `[256]`.
        shapes: height and width of each picture.
        indices: those of the pictures by shape and a hash of every eighth row.
        wrong: values outside the classes, with their pixels.
    """

    problems: list = dataclasses.field(default_factory=list)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    pictures: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    shapes: list = dataclasses.field(default_factory=list)
    indices: dict = dataclasses.field(default_factory=dict)
    wrong: Counter = dataclasses.field(default_factory=Counter)


def survey(dataset):
    """Reads all pairs of a data set, in threads, and returns a `Survey`."""
    found = Survey()
    count = len(dataset.image_info)

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
            if isinstance(result, WrongValues):
                found.wrong += result.counts
            continue
        shape, content, pixels = result
        found.shapes.append(shape)
        found.indices.setdefault((shape, content), []).append(index)
        found.pixels += pixels
        found.pictures += pixels > 0
    return found


def duplicates(parts, surveys):
    """Returns, for each validation picture that is also trained on, its name and the other's."""
    sets = [(parts[part], surveys[part].indices) for part in ("train", "val")]
    (train, of_train), (val, of_val) = sets
    pairs = []
    for key in of_train.keys() & of_val.keys():
        for j in of_val[key]:
            image = val.read_image(j)  # equal hashes alone prove nothing
            equal = (i for i in of_train[key] if np.array_equal(train.read_image(i), image))
            pairs += [(train.name(i), val.name(j)) for i in itertools.islice(equal, 1)]
    return pairs


def check_data(parts, names):
    """Surveys training and validation data and prints what was found.

    Args:
        parts: the data sets by name, "train" and "val".
        names: the classes' names.

    Raises:
        UserError: if training would fail.
    """
    surveys = {part: survey(dataset) for part, dataset in parts.items()}
    for found in surveys.values():
        for problem in found.problems:
            print(problem)
        if len(found.problems) > 1 and found.wrong:
            print(f"All together: {explain(found.wrong, len(names))}")
    for part, found in surveys.items():
        dataset = parts[part]
        stated = f" {dataset.stated} Masks are read as {dataset.reading}." if dataset.stated else ""
        print(f"\n{part}: {dataset.where}.{stated}")
        print(_table(found, names))
    twice = sorted(f"{train} = {val}" for train, val in duplicates(parts, surveys))
    print(f"\nval pictures that are in train, too: {len(twice)}", *twice[:20], sep="\n  ")
    problems = [problem for found in surveys.values() for problem in found.problems]
    if problems:
        others = f" And {len(problems) - 1} more files." if len(problems) > 1 else ""
        raise UserError(f"Training would fail. {problems[0]}{others}")
    for part, found in surveys.items():
        empty = nothing_to_learn(found.pixels, len(names), parts[part].where)
        if empty:
            raise empty


def _table(found, names):
    """A part's sizes, and a line for each class."""
    usable = len(found.shapes)
    kinds = dict.fromkeys(("unreadable", Missing.kind, SizesDiffer.kind, WrongValues.kind), 0)
    for problem in found.problems:
        kinds[getattr(problem, "kind", "unreadable")] += 1
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    lines = [f"{usable} pictures with masks; {counted}"]
    if not usable:
        return lines[0]
    sides = zip(("height", "width"), np.array(found.shapes).T, strict=True)
    lines.append(
        "; ".join(
            f"{side} {values.min()} to {values.max()}, median {np.median(values):g}"
            for side, values in sides
        )
    )
    known = found.pixels[: len(names)].sum()
    width = max(len("class"), *map(len, names))
    lines.append(f"{'class':<{width}}  {'pictures':>9}  {'pixels':>15}  {'share':>6}")
    for name, pictures, pixels in zip(names, found.pictures, found.pixels, strict=False):
        share = pixels / max(1, known)
        lines.append(f"{name:<{width}}  {pictures:>9,}  {pixels:>15,}  {share:>6.1%}")
    ignored, total = found.pixels[IGNORE], found.pixels.sum()
    lines.append(
        f"255 (ignored): {ignored:,} pixels in {found.pictures[IGNORE]:,} pictures, "
        f"{ignored / total:.1%} of all"
    )
    absent = [name for i, name in enumerate(names) if not found.pixels[i]]
    return "\n".join([*lines, f"no pixel of: {', '.join(absent) or '-'}"])
