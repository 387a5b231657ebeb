"""The state of a run: last.keras, from which training resumes, and split.json."""

import contextlib
import dataclasses
import json
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.config import BYTES, Config, Found, default_names
from core.imaging.intensity import in_words
from core.prediction.model_file import read_settings, save_model
from core.support.errors import UserError, few
from core.support.files import write_text

SPLIT_FILE = "split.json"  # the names of a run's training and validation images
MISSED = 0.05  # the IoU below which a class is as good as not found
_STATE = "training.json"  # the name inside last.keras, which is a zip archive
_FREE = (
    "workers",
    "epochs",
    "patience",
    "minutes",
    "planned",
)  # settings that may change when a run resumes


def save_checkpoint(model, path: Path, config: Config, found: Found, history: list[dict]) -> None:
    """Saves a compiled model with its optimizer, its random generators and the run's history.

    Keras restores variables and optimizer, but not the generators that dropout draws from.
    """
    generators = [np.asarray(variable).tolist() for variable in _generators(model)]
    state = json.dumps({"history": history, "generators": generators})
    save_model(model, path, config, found, {_STATE: state}, model.optimizer)


def load_checkpoint(model, path: Path, epochs: int) -> None:
    """Loads what `save_checkpoint` saved after so many epochs into a model compiled alike."""
    state = _read_state(path)
    if len(state["history"]) != epochs:
        raise UserError(
            f"{path}: another training has written it meanwhile. Call the same command again."
        )
    with zipfile.ZipFile(path) as archive:
        layers = archive.read("config.json").decode()
    if not all(f'"{layer.name}"' in layers for layer in model.layers if layer.weights):
        raise UserError(
            f"{path}: holds the network of an earlier version, without a skip connection at full "
            f"resolution, which cannot be resumed. Start from it in another folder: --init-weights "
            f"{path.parent} --output FOLDER; or add --overwrite."
        )
    model.load_weights(path)
    for variable, value in zip(_generators(model), state["generators"], strict=True):
        variable.assign(value)


def as_begun(config: Config, args, folder: Path) -> Config:
    """Takes what the flags leave open from the plan of the run in a folder, if there is one."""
    path = folder / "last.keras"
    if not path.exists():
        return config
    before = read_settings(path)[0]
    names = [name for name in before.planned if getattr(args, name) is None]
    kept = {name: getattr(before, name) for name in names} | {"planned": before.planned}
    return completed(dataclasses.replace(config, **kept), before)


def epochs_behind(config: Config, folder: Path) -> list[dict]:
    """Returns the figures of a run's finished epochs; a UserError if its settings were others."""
    path = folder / "last.keras"
    if not path.exists():
        # A training that ended in its first epoch, before last.keras, has written these two alone.
        in_first = (folder / "config.json").exists() and not (folder / "history.csv").exists()
        if (folder / "best.keras").exists() and not in_first:
            raise UserError(
                f"{folder}: holds a model, but no last.keras to resume from. Add --overwrite to "
                "replace it, or name another folder with --output."
            )
        return []
    trained, history = read_settings(path)[0], _read_state(path)["history"]
    before, now = map(dataclasses.asdict, (trained, completed(config, trained)))
    free = set(_FREE)
    if (folder / SPLIT_FILE).exists() and not finished(history, config):  # the data may have moved
        files = "train_list", "val_list", "class_table"
        free |= {"data", *(name for name in files if not now[name])}
    different = [
        f"{name} {value} (there {before[name]})"
        for name, value in now.items()
        if name not in free and value != before[name]
    ]
    if different:
        raise UserError(
            f"{folder}: holds a run of other settings: {', '.join(different)}. Give the same ones "
            "to resume it, add --overwrite to replace it, or name another folder with --output."
        )
    return history


def completed(config: Config, before: Config) -> Config:
    """Returns the settings of a run that is resumed: what flags leave open is as it was before."""
    left_open = config.class_names in ((), default_names(len(before.class_names)))
    return dataclasses.replace(config, class_names=before.class_names) if left_open else config


def best_of(history: list[dict]) -> dict:
    """Returns the figures of the best epoch, the first one of equals."""
    return max(history, key=lambda row: row["val_miou"])


def print_best(history: list, folder: Path) -> None:
    """Prints the best epoch and its file; on stderr classes that it misses, and what to do next."""
    best = best_of(history)
    figure = f"{best['val_miou']:.4f} in epoch {best['epoch']}"
    print(f"Best validation MIoU {figure}: {folder / 'best.keras'}", flush=True)
    shares = {name.removeprefix("val_iou_"): best[name] for name in best if "val_iou_" in name}
    poor = [f"{name} ({x:.3f})" for name, x in shares.items() if x is not None and x < MISSED]
    if poor:
        print(f"IoU below {MISSED}: {few(poor)}. docs/faq.md says what helps.", file=sys.stderr)
    run = f"--weights {shlex.quote(str(folder))}"
    print(f"Next: python evaluate.py {run}, or python predict.py {run} IMAGE", file=sys.stderr)


def was_finished(history: list, config: Config, folder: Path) -> bool:
    """Says whether a run has nothing left to do, and if so also prints it."""
    if not (finished(history, config) and (folder / "samples.png").exists()):
        return False
    flag = "--epochs" if len(history) >= config.epochs else "--patience"
    done = f"{folder}: the run is finished, after epoch {len(history)}."
    print(done, f"A larger {flag} resumes it.", file=sys.stderr)
    print_best(history, folder)
    return True


def describe_resuming(history: list, before: Config, config: Config, changed=()) -> str:
    """Says where a run resumes, and that another number of epochs changes its learning rates.

    `changed` has the images that have changed since the last start, or whose masks have.
    """
    where = f"Resuming after epoch {len(history)} of {config.epochs}."
    if config.data != before.data:
        where += f" The data has moved from {before.data} to {config.data}."
    if changed:
        named = few([Path(image).name for image in sorted(changed)])
        where += (
            f" Since the last start, {len(changed)} of the images or their masks have changed: "
            f"{named}. Add --overwrite to start again with these."
        )
    if config.epochs == before.epochs:
        return where
    rates = f"run of {config.epochs} epochs, and no longer of {before.epochs}"
    return f"{where} The learning rate is now that of a {rates}."


def describe_found(config: Config, found: Found) -> str:
    """Says what data and machine said, in lines."""
    sentences = [f"Computing in {found.policy}."]
    if found.intensity != BYTES:
        sentences.insert(0, in_words(found.intensity))
    if found.class_weights:
        shown = (f"{w:.4g}{'' if w else ' (no pixel)'}" for w in found.class_weights)
        pairs = map(" ".join, zip(config.names, shown, strict=True))
        sentences.insert(0, f"Class weights: {', '.join(pairs)}")
    return "\n".join(sentences)


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Lets an interrupt of a training say what calling the same command again does."""
    try:
        yield
    except KeyboardInterrupt:
        again = "No epoch was whole: the same command starts again."
        if (folder / "last.keras").exists():
            again = "The same command (without --overwrite) resumes after the last whole epoch."
        raise KeyboardInterrupt(again) from None


def finished(history: list[dict], config: Config) -> bool:
    """Says whether a run has all its epochs, or `patience` of them without a better one.

    Patience begins when all of the network learns: a frozen encoder holds the figures back.
    """
    best = best_of(history)["epoch"] if history else 0
    waited = len(history) - max(best, config.freeze_encoder)
    return len(history) >= config.epochs or bool(config.patience and waited >= config.patience)


def _generators(model):
    return [v for v in model.non_trainable_variables if v.path.endswith("seed_generator_state")]


def _read_state(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(_STATE))
    except Exception as error:  # a damaged archive is read in many ways
        raise UserError(
            f"{path}: cannot be resumed ({error}). Add --overwrite to start again."
        ) from error


def write_split(folder: Path, dataset, validation) -> None:
    """Writes the names of the images to train on and to validate with."""
    names = {"train": dataset.names, "val": validation.names}
    write_text(folder / SPLIT_FILE, json.dumps(names, indent=1) + "\n")


def read_split(folder: Path) -> dict[str, list[str]] | None:
    """Returns the names "train" and "val" of a run; None if its folder has none."""
    path = folder / SPLIT_FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {part: [str(name) for name in found[part]] for part in ("train", "val")}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Put it back, or add --overwrite to start again."
        ) from error
