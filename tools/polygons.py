"""Makes masks of polygons: python -m tools.polygons --help."""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from core.config import BACKGROUND, IGNORE, IGNORED
from core.imaging.draw import palette_image, voc_palette, write_image
from core.support import errors
from core.support.errors import UserError
from core.support.files import write_csv
from core.support.flags import Parser, parse_names
from tools.archive import check_name, staging

_FAR = 1e6  # pixels; corners beyond it would be too large for OpenCV
_FINE = 5  # polygons are filled on a grid so many times finer; odd, so that pixels have a centre


class Labelled(NamedTuple):
    """An image and what is drawn on it, from bottom to top."""

    name: str  # below images/, without suffix
    shape: tuple[int, int]  # height and width
    objects: list  # tuples of a class's name and its area: `[N, 2]` corners (x, y) or a mask


def get_args():
    """Parses the command line."""
    parser = Parser(
        prog="python -m tools.polygons",
        description="Turns what was drawn with LabelMe, or a COCO file, into masks/NAME.png with "
        "class ids, and writes the classes into classes.csv. Where objects overlap, the later one "
        "is on top.",
    )
    parser.add_argument("source", help="a COCO .json file, or a folder with LabelMe's .json files")
    text = "the data set's folder, beside its images/ (default: %(default)s)"
    parser.add_argument("--output", metavar="DIR", default=".", help=text)
    text = "ids in this order, background first; other classes become 255 (default: all classes)"
    parser.add_argument("--class-names", type=parse_names, metavar="A,B,...", help=text)
    return parser.parse_args()


def read(source: Path) -> tuple[list[Labelled], set[str]]:
    """Reads a COCO file, a LabelMe file, or a folder of LabelMe files; or raises a UserError.

    Returns the images, and the names of all classes, also of those that COCO lists without objects.
    """
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder.")
    files = sorted(source.rglob("*.json")) if source.is_dir() else [source]
    found, names = [], set()
    for path in tqdm(files, "Reading", unit="file", leave=False, disable=None):
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            if "shapes" in content:
                found.append(_checked(_labelme(content, path), path))
            elif "annotations" in content:
                found += [_checked(image, path) for image in _coco(content)]
                names |= {category["name"] for category in content["categories"]}
        except (ValueError, TypeError, LookupError, OSError) as error:
            raise UserError(f"{path}: is neither of LabelMe nor of COCO ({error!r}).") from error
    if not found:
        raise UserError(f"{source}: holds no .json file of LabelMe or COCO. Name another.")
    return found, names | {name for image in found for name, _ in image.objects}


def _checked(image, path):
    """An image whose size, names and areas can be drawn; or a UserError."""
    wrong, shape = None, image.shape
    if not all(isinstance(side, int) and side > 0 for side in shape):
        wrong = "its size is {}x{}. Height and width must be whole numbers".format(*shape)
    for name, area in image.objects:
        if not isinstance(name, str):
            wrong = f"a class is called {name!r}. Names must be texts"
        elif area is not None and area.dtype == bool and area.shape != tuple(shape):
            wrong = f"a mask of {name} has another size than the image. Make them equal"
        elif area is not None and not np.isfinite(area).all():
            wrong = f"a corner of {name} is no number. Draw it anew"
    if wrong:
        raise UserError(f"{path}: {image.name}: {wrong}.")
    return image


def _labelme(content, path):
    """An image of LabelMe: https://github.com/wkentaro/labelme."""
    image = PurePosixPath(content["imagePath"].replace("\\", "/"))
    shape = content.get("imageHeight"), content.get("imageWidth")
    if None in shape:
        with Image.open(path.parent / image) as file:
            shape = file.size[::-1]
    objects = []
    for drawn in content["shapes"]:
        points = np.array(drawn["points"], np.float64).reshape(-1, 2)
        kind = drawn.get("shape_type") or "polygon"
        if kind == "rectangle":
            (x0, y0), (x1, y1) = points
            area = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        elif kind == "circle":
            angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
            radius = np.linalg.norm(points[1] - points[0])
            area = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        elif kind == "mask":  # a PNG of its bounding box
            area = np.zeros(shape, bool)
            part = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn["mask"])))) > 0
            (left, top), _ = points.round().astype(int)
            area[top : top + part.shape[0], left : left + part.shape[1]] = part
        else:
            filled = kind in ("polygon", "oriented_rectangle") and len(points) > 2
            area = points if filled else None  # lines and points have no area
        objects.append((drawn["label"], area))
    return Labelled(image.stem, shape, objects)


def _coco(content):
    """The images of a COCO file: https://cocodataset.org/#format-data."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    images = {
        image["id"]: Labelled(
            _relative(image["file_name"]),
            (image["height"], image["width"]),
            [],
        )
        for image in content["images"]
    }
    if len(images) < len(content["images"]):
        raise ValueError("two images have one id")
    for drawn in content["annotations"]:
        objects, area = images[drawn["image_id"]].objects, drawn.get("segmentation")
        name = names[drawn["category_id"]]
        if isinstance(area, dict):
            objects.append((name, run_lengths(area["counts"], area["size"])))
        else:
            polygons = [np.array(corners, np.float64).reshape(-1, 2) for corners in area or []]
            filled = [(name, polygon) for polygon in polygons if len(polygon) > 2]
            objects += filled or [(name, None)]
    return list(images.values())


def _relative(file):
    """The name of an image below images/: of a URL or an absolute path, what stands at the end."""
    path = PurePosixPath(PurePosixPath(file).as_posix().replace("\\", "/"))
    whole = path.is_absolute() or path.parts[:1] and path.parts[0].endswith(":")
    return PurePosixPath(path.name if whole else path).with_suffix("").as_posix()


def run_lengths(counts: list[int] | str, size: tuple[int, int]) -> np.ndarray:
    """Decodes COCO's run-length encoding to a bool mask `[height, width]`.

    The runs go down the columns, and are of 0 and 1 in turns. A text holds them compressed: five
    bits a character, lowest first, a bit that says whether more follow, and from the fourth run on
    the difference to the run before the last.
    """
    if isinstance(counts, str):
        runs, value, shift = [], 0, 0
        for code in (ord(letter) - 48 for letter in counts):
            value |= (code & 31) << shift
            shift += 5
            if not code & 32:
                if code & 16:  # a negative number
                    value -= 1 << shift
                runs.append(value + (runs[-2] if len(runs) > 2 else 0))
                value = shift = 0
        counts = runs
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size[1], size[0]).T


def fill(mask: np.ndarray, area: np.ndarray, value: int) -> None:
    """Writes a value where a polygon `[N, 2]` (x, y) covers a pixel's centre, or where a mask is.

    Coordinates are those of LabelMe and COCO: pixel (0, 0) reaches from 0 to 1.
    """
    if area.dtype == bool:
        mask[area] = value
        return
    area = area.clip(-_FAR, _FAR)
    first = np.floor(area.min(0)).astype(int).clip(0)
    last = np.ceil(area.max(0)).astype(int).clip(None, mask.shape[::-1])
    width, height = last - first
    if min(width, height) <= 0:
        return
    fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
    corners = ((area - first) * _FINE - 0.5) * 256  # with eight bits behind the point
    cv2.fillPoly(fine, [corners.round().astype(np.int32)], 1, shift=8)
    covered = fine[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE] > 0
    mask[first[1] : last[1], first[0] : last[0]][covered] = value


def number(found: set[str], names: tuple | None) -> tuple[tuple, dict[str, int]]:
    """Returns the classes in the order of their ids, and the id of each name that was found."""
    found = sorted(found)
    if names is None:
        plain = [name for name in found if name.lower() not in (*BACKGROUND, *IGNORED)]
        names = ("background", *plain)
    ids = dict.fromkeys(found, IGNORE) | {name: i for i, name in enumerate(names)}
    return names, ids | {name: 0 for name in found if name.lower() in BACKGROUND}


def draw(images: list[Labelled], ids: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name of each image and its mask, uint8 `[H, W]`."""
    for image in images:
        mask = np.zeros(image.shape, np.uint8)
        for name, area in image.objects:
            if area is not None:
                fill(mask, area, ids[name])
        yield image.name, mask


def main():
    """Converts."""
    args = get_args()
    images, found = read(Path(args.source))
    first, *_ = args.class_names or ("background",)
    if first in found and first.lower() not in BACKGROUND:
        raise UserError(
            f"--class-names: {first} is drawn, but the first class is that of all pixels on which "
            "nothing is. Put the background first, as in background,leaf."
        )
    names, ids = number(found, args.class_names)
    if len(names) > IGNORE:
        raise UserError(f"{args.source}: has {len(names)} classes, and masks have ids to 254.")
    target, table = (Path(args.output) / name for name in ("masks", "classes.csv"))
    for path in filter(Path.exists, (target, table)):
        raise UserError(f"{path}: is there already. Move it away, or name another --output.")
    for image, count in Counter(image.name for image in images).items():
        check_name(image)
        if count > 1:
            raise UserError(f"{args.source}: has {count} images of the name {image}. Rename them.")
    with staging(target, note="") as folder:
        drawn = tqdm(draw(images, ids), "Drawing", len(images), leave=False, disable=None)
        for name, mask in drawn:
            write_image(folder / f"{name}.png", palette_image(mask, voc_palette()))
        rows = ((name, value) for value, name in enumerate(names))
        write_csv(table, [("name", "value"), *rows])
        folder.rename(target)
    print(f"{target}: {len(images)} masks of {len(names)} classes: {', '.join(names)}.")
    objects = [entry for image in images for entry in image.objects]
    if missing := [name for name in names[1:] if name not in {name for name, _ in objects}]:
        print(f"Nothing is drawn of: {', '.join(missing)}.")
    for what, counts in (
        ("Ignored (255)", Counter(name for name, _ in objects if ids[name] == IGNORE)),
        ("Left out, without an area", Counter(name for name, area in objects if area is None)),
    ):
        if counts:
            print(f"{what}: {', '.join(f'{n} {name}' for name, n in counts.items())}.")


if __name__ == "__main__":
    errors.run(main)
