"""Which pictures a user means, and whether their predictions have a place."""

from pathlib import Path

from core.errors import UserError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def collect(inputs):
    """Returns the pictures that are meant: files as they are, the pictures of folders in order.

    Raises:
        UserError: if a name does not exist, a folder has no pictures or two would write one file.
    """
    paths = []
    for name in map(Path, inputs):
        if name.is_dir():
            found = sorted(path for path in name.iterdir() if path.suffix.lower() in SUFFIXES)
            if not found:
                raise UserError(
                    f"{name}: this folder has no pictures ({', '.join(sorted(SUFFIXES))})."
                )
            paths += found
        elif name.exists():
            paths.append(name)
        else:
            raise UserError(f"{name}: there is no such file or folder.")
    paths = list(dict.fromkeys(paths))
    seen = {}
    for path in paths:
        if seen.setdefault(path.stem, path) != path:
            raise UserError(
                f"{path} and {seen[path.stem]} would both write {path.stem}_mask.png. Run them "
                "one after the other, with another --output."
            )
    return paths


def check_output(paths, output):
    """Makes sure that no prediction is written among the pictures, where it could replace a file.

    Raises:
        UserError: if `output` is the folder of one of the pictures.
    """
    for path in paths:
        if path.resolve().parent == output.resolve():
            raise UserError(f"{output}: {path} lies there. Name another folder with --output.")
