"""README.md and the pages of docs/: their links lead somewhere, and their commands run."""

import dataclasses
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_isbi, write_voc
from PIL import Image

from core.config import ISBI_CLASSES, PRESETS, SAMPLE_CLASSES, Found
from core.imaging.draw import voc_palette
from core.prediction.model_file import save_model
from core.sources import sample
from core.training import facts, plan
from core.training.fit import build
from nets.sizes import ENCODERS, SHIPPED_ENCODER, Encoder

pytestmark = pytest.mark.deep

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
OTHERS = ["CONTRIBUTING.md", "CHANGELOG.md", "weights/README.md"]


def text_of(page):
    return (ROOT / page).read_text("utf-8")


def without_blocks(page):
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)


def prose(page):
    """A page without its blocks of code and its inline code."""
    return re.sub(r"`[^`\n]*`", "", without_blocks(page))


def anchors(page):
    """What GitHub makes of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", without_blocks(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page):
    """The links of a page to the project's files, images among them: each file and heading."""
    found = []
    for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", prose(page)):
        path, _, anchor = link.partition("#")
        if not re.match(r"[a-z]+:", link):
            found.append((os.path.normpath(Path(page).parent / path) if path else page, anchor))
    return found


@pytest.mark.parametrize("page", PAGES + OTHERS)
def test_links_lead_somewhere(page):
    for path, anchor in links(page):
        assert (ROOT / path).exists(), path
        assert not anchor or anchor in anchors(path), (path, anchor)


def test_each_page_and_image_is_linked():
    linked = {path for page in PAGES for path, _ in links(page)}
    files = {f"docs/{path.name}" for path in (ROOT / "docs").iterdir()}
    assert files - linked <= {"docs/cat.jpg", "docs/cells.png"}  # which predict.py takes


def test_the_readme_is_short_and_the_pages_are_plain():
    assert len(text_of("README.md").splitlines()) <= 200
    for page in PAGES:
        words = re.findall(r"(?i)\b(pictures?|way down|window|of which|for which)\b", prose(page))
        assert not words, page


def commands(page):
    """The lines of a page's shell blocks, but those of a block that is said to be run by hand.

    Those of tools.export are run by tests/test_export.py, with what follows them.
    """
    blocks = re.findall(
        r"(<!-- by hand: [^\n]+ -->\n)?^```shell\n(.*?)^```", text_of(page), re.S | re.M
    )
    lines = "\n".join(code for by_hand, code in blocks if not by_hand)
    return [
        line
        for line in lines.replace("\\\n", " ").splitlines()
        if line and "tools.export" not in line
    ]


NETWORKS = {  # by the models' files
    "weights/voc-animals.keras": ("voc", ("background", "cat", "cow"), SHIPPED_ENCODER),
    "weights/vessels.keras": ("folder", ("background", "vessel"), "none"),
    "weights/isbi.keras": ("isbi", ISBI_CLASSES, "none"),
    "runs/sample/best.keras": ("sample", SAMPLE_CLASSES, "none"),
}


@pytest.fixture
def tiny(monkeypatch, small_encoder, eagerly):
    """Networks, data sets and plans are tiny; no step is measured."""
    levels = " ".join(f"block{level}" for level in range(1, 6))
    encoder = Encoder("VGG16", levels, scale=1 / 127.5, offset=-1.0, halvings=4)
    monkeypatch.setitem(ENCODERS, SHIPPED_ENCODER, encoder)
    monkeypatch.setattr(sample, "IMAGES", {"train": 6, "val": 3})
    monkeypatch.setattr(sample, "VERSION", "docs")
    for name, preset in PRESETS.items():
        settings = {"filters": 2, "epochs": 1, "size": (64, 64), "crop": None, "repeats": 1}
        monkeypatch.setitem(PRESETS, name, dataclasses.replace(preset, **settings))
    monkeypatch.setattr(plan, "measure", lambda *_: facts.Cost(100, 64**2, 1, 1000))
    monkeypatch.setattr(plan, "SHIPPED", Path("weights/voc-animals.keras"))


@pytest.fixture
def place(tiny, rng, tmp_path_factory):
    """A folder like the project's, with data and models of each kind."""
    write_voc(Path("data/VOCdevkit/VOC2012"))
    write_isbi(Path("data/isbi"), size=64)
    for folder in ("my_data/images", "my_data/masks", "holiday", "scans"):
        Path(folder).mkdir(parents=True)
    for name in "abcdef":
        image = rng.integers(0, 256, (64, 72, 3), np.uint8)
        Image.fromarray(image).save(f"my_data/images/{name}.jpg")
        Image.fromarray(image[..., 0] // 128).save(f"my_data/masks/{name}.png")
        Image.fromarray(image).save(f"holiday/{name}.jpg")
    shutil.copy("holiday/a.jpg", "cat.jpg")
    grey = Image.fromarray(image[..., 0])
    grey.save("scans/a.png")
    grey.save("stack.tif", save_all=True, append_images=[grey])
    shutil.copytree(ROOT / "docs", "docs")
    models = tmp_path_factory.getbasetemp() / "models of the docs"
    for name, (kind, names, encoder) in NETWORKS.items():
        path = models / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            config = dataclasses.replace(PRESETS[kind], class_names=names, encoder=encoder)
            palette = voc_palette()[: len(names)].tolist()
            save_model(build(config), path, config, Found(palette=palette))
    shutil.copytree(models, ".", dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_run(page, place, call):
    """One after the other, in one folder, as a reader gives them."""
    for line in commands(page):
        python, *words = shlex.split(line)
        assert python == "python" and "|" not in words, f"{line}: cannot be run here"
        script, *flags = (
            words[1:] if words[0] == "-m" else [words[0].removesuffix(".py")] + words[1:]
        )
        status, _, err = call(script, *flags)
        assert status == 0, f"{line}: {err}"


@pytest.mark.parametrize("script", ["train", "predict", "evaluate"])
def test_help_has_a_line_for_each_flag_and_an_example(script, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    status, out, _ = call(script, "--help")
    groups = {"data", "network", "training", "output", "several machines"}
    flags = out.partition("\n\noptions:\n")[2].replace("\n  for KERAS_BACKEND=jax", "\n")
    lines = [line for line in flags.splitlines()[:-1] if line and line[:-1] not in groups]
    assert status == 0 and len(lines) > 8
    assert [line for line in lines if not re.match(r"  -.*\S  +\S|; the other flags", line)] == []
    assert re.fullmatch(rf"Example: python {script}\.py .*", out.splitlines()[-1])
