"""Which images a user means, and how a model is to look at them."""

import argparse
import dataclasses
import glob
import os
from pathlib import Path

from core.support.errors import UserError
from core.support.pairs import SUFFIXES

PREDICTIONS = "predictions"  # the folder for the predictions of all models


@dataclasses.dataclass(frozen=True)
class Source:
    """A file to predict."""

    path: Path
    folder: Path = Path()  # where it lies below the folder that the user named


def add_inference_flags(parser: argparse.ArgumentParser, without_run: str = "") -> None:
    """Adds the flags that say how a model looks at images; `without_run` is for --weights' help."""
    group = parser.add_argument_group("network")
    text = f"a .keras file or a run's folder (default: the newest run{without_run})"
    group.add_argument("--weights", metavar="PATH", help=text)
    text = "cut images into tiles at their own resolution (default: as trained)"
    group.add_argument("--tile", action=argparse.BooleanOptionalAction, help=text)
    text = "test-time augmentation: average over orientations"
    group.add_argument("--tta", action="store_true", help=text)
    kinds = "auto", "float32", "bfloat16"
    text = f"{', '.join(kinds)} (default: auto)"
    group.add_argument("--precision", choices=kinds, default="auto", metavar="KIND", help=text)


def folder_for(weights: Path) -> Path:
    """Returns the folder for the predictions of a model: `predictions/` and its run's name.

    A model that is not in a run has its file's name there, and `last.keras` both.
    """
    run = weights.parent.resolve().name
    names = {"best.keras": run, "last.keras": f"{run}-last"}
    return Path(PREDICTIONS, names.get(weights.name, weights.stem))


def collect(inputs, output, left_out=None, hidden=None):
    """Returns the images that are meant, each once, or raises a UserError.

    Args:
        inputs: names of files, of folders (all images in and below them, in order; hidden ones
            are left out), and patterns such as `*.jpg`.
        output: the folder for the predictions, which is never gone into, and must not be one of
            the images' own.
        left_out: a list that receives the files in these folders that are no images.
        hidden: another folder that is never gone into, by default the output.
    """
    left_out = [] if left_out is None else left_out
    output, hidden = _real(output), _real(hidden or output)
    found = {}
    for name in map(str, inputs):
        matches = [Path(name)]
        if not os.path.lexists(name):
            matches = map(Path, sorted(glob.glob(name, recursive=True)))
            matches = [match for match in matches if hidden not in _real(match).parents]
            if not matches:
                raise UserError(f"{name or repr(name)}: there is no such file or folder.")
        for match in matches:
            for source in _walk(match, hidden, left_out) if match.is_dir() else [Source(match)]:
                found.setdefault(_real(source.path), source)
    folders = {real.parent: source.path for real, source in found.items()}
    for target in {_real(output / source.folder) for source in found.values()}:
        if target in folders:
            raise UserError(
                f"{target}: {folders[target]} lies there, and predictions would. Name another "
                "folder with --output."
            )
    return list(found.values())


def _real(path):
    return Path(os.path.realpath(path))


def _walk(top, hidden, left_out):
    """The images in and below a folder."""
    found = []
    for folder, folders, files in os.walk(top, onerror=_refuse):
        folder = Path(folder)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and _real(folder / name) != hidden
        )
        for path in (folder / name for name in sorted(files) if not name.startswith(".")):
            if path.suffix.lower() not in SUFFIXES:
                left_out.append(path)
            elif path.is_file() or path.is_symlink():
                found.append(Source(path, folder.relative_to(top)))
    if not found:
        raise UserError(f"{top}: this folder has no images ({', '.join(sorted(SUFFIXES))}).")
    return found


def _refuse(error):
    """A folder that cannot be read would look like an empty one."""
    raise error
