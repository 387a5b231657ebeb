"""What a run needs to go on: last.keras, which holds it all in one file."""

import dataclasses
import json
import zipfile

import numpy as np

from core.prediction.model_file import read_settings, save_model
from core.support.errors import UserError

_STATE = "training.json"  # the name inside last.keras, which is a zip archive
_FREE = ("workers", "epochs", "patience")  # settings that may change on the way


def save_checkpoint(model, path, config, found, history):
    """Saves a model in training, optimizer included; see `save_model`.

    Keras keeps weights and optimizer, but does not restore the states of its random generators,
    which dropout draws from: they are kept beside, with the figures of all epochs so far.

    Args:
        model: a compiled `keras.Model`.
        path: the file.
        config: the `Config` of the run.
        found: its `Found`.
        history: a dictionary for each epoch.
    """
    generators = [np.asarray(variable).tolist() for variable in _generators(model)]
    state = {"history": history, "generators": generators}
    save_model(model, path, config, found, {_STATE: json.dumps(state)}, model.optimizer)


def load_checkpoint(model, path, epochs):
    """Brings a model, compiled as it was, to where it was when it was saved.

    Args:
        model: a `keras.Model`.
        path: the file.
        epochs: how many epochs it should have behind it.

    Raises:
        UserError: if there are more or fewer.
    """
    state = _read_state(path)
    if len(state["history"]) != epochs:
        raise UserError(
            f"{path}: another training has written it meanwhile. Call the same command again."
        )
    model.load_weights(path)
    for variable, value in zip(_generators(model), state["generators"], strict=True):
        variable.assign(value)


def epochs_behind(config, folder):
    """Returns the figures of the epochs that a run's folder has behind it; none for a new run.

    Args:
        config: the `Config` of the run that is asked for.
        folder: the run's folder, a Path.

    Raises:
        UserError: if the run in the folder is another one.
    """
    path = folder / "last.keras"
    if not path.exists():
        if (folder / "best.keras").exists():
            raise UserError(
                f"{folder}: holds a model, but no last.keras to go on from. Add --overwrite to "
                "replace it, or name another folder with --output."
            )
        return []
    before, now = (dataclasses.asdict(c) for c in (read_settings(path)[0], config))
    different = [
        f"{name} {now[name]} (there {before[name]})"
        for name in now
        if name not in _FREE and now[name] != before[name]
    ]
    if different:
        raise UserError(
            f"{folder}: holds a run of other settings: {', '.join(different)}. Give the same ones "
            "to go on with it, add --overwrite to replace it, or name another folder with --output."
        )
    return _read_state(path)["history"]


def policy_behind(folder):
    """Returns the dtype policy that a run was trained with so far."""
    return read_settings(folder / "last.keras")[1].policy


def best_of(history):
    """Returns the figures of the best epoch, the first one of equals."""
    return max(history, key=lambda row: row["val_miou"])


def finished(history, config):
    """Says whether a run has come to its end: all epochs, or `patience` of them without a better.

    Patience begins when all of the network learns: what it can do with a frozen encoder is not yet
    what it will do.

    Args:
        history: the figures of its epochs, a dictionary each.
        config: its `Config`.
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
            f"{path}: cannot be continued ({error}). Add --overwrite to start again."
        ) from error
