import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.config import BYTES
from core.prediction.inputs import Intensity, collect, folder_for
from core.support.errors import UserError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Folders with files whose names are all that counts."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/b.jpg",
        "photos/a.PNG",
        "photos/notes.txt",
        "photos/.hidden.jpg",
        "photos/sub/deep er/c.tif",
        "photos/.cache/d.jpg",
        "photos/out/b_mask.png",
        "Blätter 葉/e.jpg",
        "empty/notes.txt",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def paths(*inputs, output="predictions"):
    return [str(source.path) for source in collect(inputs, output)]


def test_folders_are_gone_through(photos):
    wanted = ["photos/a.PNG", "photos/b.jpg", "photos/out/b_mask.png", "photos/sub/deep er/c.tif"]
    assert paths("photos") == wanted
    assert [str(source.folder) for source in collect(["photos"], "out")] == [
        ".",
        ".",
        "out",
        "sub/deep er",
    ]


def test_predictions_are_no_pictures(photos):
    assert "photos/out/b_mask.png" not in paths("photos", output="photos/out")


def test_predictions_of_other_models_are_no_pictures(photos):
    for name in ("one", "two"):
        Path(f"photos/predictions/{name}").mkdir(parents=True)
        Path(f"photos/predictions/{name}/b_overlay.jpg").touch()
    os.chdir("photos")
    found = collect(["."], "predictions/two", hidden="predictions")
    assert [str(source.path) for source in found] == [
        "a.PNG",
        "b.jpg",
        "out/b_mask.png",
        "sub/deep er/c.tif",
    ]
    with pytest.raises(UserError, match="there is no such file"):
        collect(["predictions/*/*"], "predictions/two", hidden="predictions")


def test_the_folder_of_a_model_s_predictions(tmp_path):
    for weights, wanted in (
        ("runs/exp/one/best.keras", "one"),
        ("runs/exp/one/last.keras", "one-last"),
        ("weights/isbi.keras", "isbi"),
        (tmp_path / "run" / ".." / "best.keras", tmp_path.name),
    ):
        assert folder_for(Path(weights)) == Path("predictions", wanted)


def test_patterns_do_not_go_into_the_output(photos):
    assert paths("**/b*", output="photos/out") == ["photos/b.jpg"]


def test_predictions_among_pictures_of_a_folder_below(photos):
    """photos/photos/c.png would be predicted into photos/."""
    Path("photos/photos").mkdir()
    Path("photos/photos/c.png").touch()
    with pytest.raises(UserError, match="photos: photos/.* lies there"):
        collect(["photos"], ".")


def test_what_is_no_file_is_left_out(photos):
    os.mkfifo("photos/pipe.png")
    os.symlink("loop.png", "photos/loop.png")
    assert "photos/pipe.png" not in paths("photos")
    assert "photos/loop.png" in paths("photos")  # to be named when it cannot be read


def test_files_and_patterns(photos):
    assert paths("photos/b.jpg", "photos/notes.txt") == ["photos/b.jpg", "photos/notes.txt"]
    assert paths("photos/*.jpg", "Blätter */*.jpg") == ["photos/b.jpg", "Blätter 葉/e.jpg"]
    assert paths("**/c.tif") == ["photos/sub/deep er/c.tif"]
    assert paths("photos/b.jpg", "photos/*.jpg", "photos")[0:2] == ["photos/b.jpg", "photos/a.PNG"]
    assert paths("photos/b.jpg", "empty/../photos/b.jpg") == ["photos/b.jpg"]
    os.symlink("photos/b.jpg", "link.jpg")
    assert paths("link.jpg", "photos/b.jpg") == ["link.jpg"]


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["nowhere.jpg"], "out", "nowhere.jpg: there is no such file or folder"),
        (["photos/*.webp"], "out", r"photos/\*.webp: there is no such file"),
        (["empty"], "out", "empty: this folder has no images"),
        ([""], "out", "'': there is no such file"),
        (["photos/b.jpg"], "photos", "photos: photos/b.jpg lies there, and .*--output"),
    ],
)
def test_inputs_that_cannot_be_meant(photos, inputs, output, message):
    with pytest.raises(UserError, match=message):
        collect(inputs, output)


def test_links_to_folders_are_followed_once(photos):
    Path("linked").mkdir()
    Path("linked/photos").symlink_to(Path("photos/sub").resolve())
    Path("linked/back").symlink_to(Path("linked").resolve())
    assert paths("linked") == ["linked/photos/deep er/c.tif"]


def test_a_few_images_of_another_range_are_named(tmp_path, capfd):
    """The first one decides; an image without contrast may be as dark as it looks."""
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 4096, (8, 8), np.uint16) for name in "abcd"}
    images |= {"e": 16 * images["a"], "f": np.full((8, 8), 9, np.uint16)}
    intensity = Intensity(BYTES)
    for name, values in images.items():
        path = tmp_path / f"{name}.png"
        Image.fromarray(values).save(path)
        intensity.look(path)
        intensity.read(path, 0, 1)
    assert "Values from 0 to 4095 become" in capfd.readouterr().err
    intensity.close()
    said = capfd.readouterr().err
    assert said.startswith(f"{tmp_path / 'e.png'}: the values are of quite another range")
