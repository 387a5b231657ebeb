import os
import tempfile
from pathlib import Path

import pytest

from core.support import backend
from nets.home import keras_home


@pytest.fixture(autouse=True)
def no_keras_home(monkeypatch):
    monkeypatch.delenv("KERAS_HOME")


def test_the_usual_place(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_home() == tmp_path / ".keras"
    monkeypatch.setenv("KERAS_HOME", "elsewhere")
    assert keras_home() == Path("elsewhere")


def test_without_a_home_it_is_a_temporary_one(monkeypatch):
    """As in a container with `--user 12345`: neither the variable nor an entry in passwd."""
    pwd = pytest.importorskip("pwd")

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert keras_home() == Path(tempfile.gettempdir(), ".keras")
    monkeypatch.setenv("KERAS_HOME", "elsewhere")
    assert keras_home() == Path("elsewhere")


def test_a_home_that_cannot_be_written_to(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    assert keras_home() == Path(tempfile.gettempdir(), ".keras")
    (tmp_path / ".keras").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name == ".keras")
    assert keras_home() == tmp_path / ".keras"  # a volume of its own in a home that is read only


def test_keras_keeps_its_files_there_too(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))
    backend.start()
    assert os.environ.pop("KERAS_HOME") == str(tmp_path / ".keras")
    assert capfd.readouterr().err == ""

    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    backend.start()
    folder = os.environ["KERAS_HOME"]
    assert folder == str(keras_home()) == str(Path(tempfile.gettempdir(), ".keras"))
    assert capfd.readouterr().err == (
        f"No home folder can be written to: {folder} holds the sample and what Keras downloads. "
        "KERAS_HOME names another folder.\n"
    )
