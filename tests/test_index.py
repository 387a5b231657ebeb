"""A second start reads only files that changed, and is never told what is no longer so."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import write_voc
from PIL import Image

from core.imaging import intensity, mask
from core.imaging.draw import voc_palette
from core.imaging.intensity import find_range
from core.sources import cache as module
from core.sources.cache import INDEX_FILE, Index
from core.sources.folder import FolderDataset
from core.support.errors import UserError
from core.VOCdataset import VOCDataset


def opened(voc, folder="run", split="train", **options):
    options = {"target_size": (16, 16), "num_classes": 3, "index": Index(folder), **options}
    return VOCDataset(voc / f"ImageSets/Segmentation/{split}.txt", **options)


def checked(data):
    """The result of the check, and the numbers of the images that it read."""
    read, load = [], data.load
    data.load = lambda number: (read.append(number), load(number))[1]
    return data.check().tolist(), sorted(read)


def later(path, seconds=1):
    """Gives a file a later time of change."""
    times = os.stat(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + seconds * 10**9))


def test_a_second_start_reads_nothing(voc):
    first, read = checked(opened(voc))
    assert read == [0, 1, 2, 3]
    data = opened(voc)
    assert checked(data) == (first, [])
    assert first == VOCDataset.check(opened(voc, index=None)).tolist()
    before = Path("run", INDEX_FILE).stat().st_mtime_ns
    opened(voc).check()
    assert Path("run", INDEX_FILE).stat().st_mtime_ns == before  # nothing new, nothing written
    assert checked(opened(voc, split="val"))[1] == [0, 1]
    assert checked(opened(voc))[1] == [] == checked(opened(voc, split="val"))[1]


def test_only_a_changed_mask_is_read(voc):
    """By hand: a mask of the same size in bytes, other values, and the time of change alone."""
    for name in ("picture2", "picture3", "picture4", "picture5"):
        Image.new("L", (48, 40), 1).save(voc / f"SegmentationClass/{name}.png", "BMP")
    path = voc / "SegmentationClass/picture3.png"
    assert checked(opened(voc))[0] == [0, 4 * 13 * 16, 0]  # 48x40 becomes 16x13
    size = path.stat().st_size
    Image.new("L", (48, 40), 2).save(path, "BMP")
    later(path)
    assert path.stat().st_size == size
    assert checked(opened(voc)) == ([0, 3 * 13 * 16, 13 * 16], [1])
    later(voc / "JPEGImages/picture5.jpg")
    assert checked(opened(voc))[1] == [3]


def test_a_change_that_keeps_the_time_is_seen(voc):
    """As by `cp -p` over a file; the system's own time of change tells."""
    checked(opened(voc))
    path = voc / "SegmentationClass/picture3.png"
    times = path.stat()
    data = bytearray(path.read_bytes())
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if path.stat().st_ctime_ns == times.st_ctime_ns:
        pytest.skip("this system's clock of files is too coarse")
    assert checked(opened(voc))[1] == [1]


@pytest.mark.parametrize(
    "settings",
    [
        {"target_size": (32, 16)},
        {"crop": (8, 8)},
        {"num_classes": 4},
        {"class_ids": [2, 1]},
        {"class_ids": [1]},
    ],
    ids=str,
)
def test_other_settings_are_another_question(voc, settings):
    checked(opened(voc))
    wanted = opened(voc, index=None, **settings).check().tolist()
    assert checked(opened(voc, **settings)) == (wanted, [0, 1, 2, 3])
    data = opened(voc)
    for name in {"target_size", "num_classes"} & set(settings):  # set afterwards
        setattr(data, name, settings[name])
        assert data.check().tolist() == wanted


def test_another_class_is_another_question(voc):
    class Inverted(VOCDataset):
        def read_mask(self, index):
            return 2 - super().read_mask(index).clip(max=2)

    checked(opened(voc))
    data = Inverted(voc / "ImageSets/Segmentation/train.txt", 2, (16, 16), 3, index=Index("run"))
    assert checked(data)[1] == [0, 1, 2, 3]


def test_another_reading_is_another_question():
    """Black and white as class ids: 255 is ignored, or class 1."""
    for folder in ("own/images", "own/masks"):
        Path(folder).mkdir(parents=True)
    for name in "abcd":
        Image.new("L", (8, 8)).save(f"own/images/{name}.png")
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(f"own/masks/{name}.png")

    def data():
        return FolderDataset("own", None, 2, target_size=(8, 8), index=Index("run"))

    assert data().check().tolist() == [4 * 56, 4 * 8]
    other = data()
    assert other.reading == "black-and-white"
    other.reading = "ids"
    with pytest.raises(UserError, match="hold no object"):
        other.check()
    assert checked(data()) == ([4 * 56, 4 * 8], [])


def test_masks_of_own_data_are_read_once(monkeypatch):
    """To find out what their values mean; the palettes are part of what is known."""
    for folder in ("own/images", "own/masks"):
        Path(folder).mkdir(parents=True)
    for number in range(4):
        Image.new("L", (8, 8)).save(f"own/images/{number}.png")
        image = Image.fromarray(np.eye(8, dtype=np.uint8) * (number % 2 + 1))
        image.putpalette(voc_palette().tobytes())
        image.save(f"own/masks/{number}.png")
    data = FolderDataset("own", "train", 3, target_size=(8, 8), index=Index("run"))
    counts = data.check()
    from core.sources.own import palettes

    read = []
    plain = palettes.read_indexed
    monkeypatch.setattr(palettes, "read_indexed", lambda *a: (read.append(a[0]), plain(*a))[1])
    again = FolderDataset("own", "train", 3, target_size=(8, 8), index=Index("run"))
    assert not read and (again.reading, again.by_colour) == (data.reading, data.by_colour)
    assert checked(again) == (counts.tolist(), [])
    later("own/masks/2.png")
    FolderDataset("own", "train", 3, target_size=(8, 8), index=Index("run"))
    assert [path.name for path in read] == ["2.png"]


def test_palettes_are_compared_without_reading(voc, monkeypatch):
    """They are noted while masks are read, and must be known when none is."""
    plain, compared = mask.read_indexed, []
    monkeypatch.setattr(mask, "read_indexed", lambda *a: (compared.append(a), plain(*a))[1])
    path = voc / "SegmentationClass/picture4.png"
    colours = voc_palette()
    for changed, times in ([9, 10], (4, 0)), ([1, 2], (1, 1)):
        with Image.open(path) as image:
            image.load()
        colours[changed] = colours[changed[::-1]]
        image.putpalette(colours.tobytes())
        image.save(path)
        later(path)
        for count in times:
            data = opened(voc)
            if changed == [9, 10]:  # which do not occur
                data.check()
            else:
                with pytest.raises(UserError, match="index 1 is #(800000|008000) in"):
                    data.check()
            assert (len(compared), len(data.palettes)) == (count, 2)
            compared.clear()


def test_errors_are_no_knowledge(voc):
    """A start that fails writes nothing; whoever tries again with the same index knows the rest."""
    path = voc / "SegmentationClass/picture3.png"
    good = path.read_bytes()
    path.write_bytes(b"nothing")
    index = Index("run")
    for wanted in ([0, 1, 2, 3], [1]):
        data = opened(voc, index=index)
        read, load = [], data.load
        data.load = lambda number, read=read, load=load: (read.append(number), load(number))[1]
        with pytest.raises(UserError, match="picture3"):
            data.check()
        assert sorted(read) == wanted and not Path("run").exists()
    path.write_bytes(good)
    assert checked(opened(voc, index=index))[1] == [1]
    assert checked(opened(voc))[1] == []


def test_the_range_is_known(rng, monkeypatch):
    infos = []
    for number in range(3):
        values = rng.integers(0, 4000, (8, 9)).astype(np.uint16)
        Image.fromarray(values).save(f"{number}.png")
        infos.append({"image_path": Path(f"{number}.png"), "mask_path": Path(f"{number}.png")})
    Image.new("L", (8, 8)).save("8bit.png")
    infos.append({"image_path": Path("8bit.png")})
    first = Index("run")
    wanted = find_range(infos)
    assert find_range(infos, 2, first.remember) == wanted
    first.save()
    read = []
    for name in ("read_values", "describe"):
        plain = getattr(intensity, name)
        monkeypatch.setattr(
            intensity,
            name,
            lambda path, page=0, name=name, plain=plain: (read.append(name), plain(path, page))[1],
        )
    known = find_range(infos, 2, Index("run").remember)
    assert known == wanted and not read and [*map(type, known)] == [*map(type, wanted)]
    Image.fromarray(np.full((8, 9), 60000, np.uint16)).save("1.png")
    later("1.png")
    changed = find_range(infos, 2, Index("run").remember)
    assert read.count("describe") == 1 and "read_values" in read
    assert changed == find_range(infos) != wanted
    assert find_range(infos[:2], 1, Index("run").remember) == find_range(infos[:2])
    assert find_range(infos[2:], 1, Index("run").remember) == find_range(infos[2:])


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"hello",
    "a bit": lambda data: data[:40] + bytes([data[40] ^ 4]) + data[41:],
    "other JSON": lambda data: gzip.compress(b"[1, 2]"),
    "no JSON": lambda data: gzip.compress(b"{"),
    "a number": lambda data: gzip.compress(b"7"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_ignored(voc, damage):
    wanted, _ = checked(opened(voc))
    path = Path("run", INDEX_FILE)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert checked(opened(voc)) == (wanted, [0, 1, 2, 3])
    assert checked(opened(voc)) == (wanted, [])


def test_a_folder_in_its_place(voc):
    Path("run", INDEX_FILE).mkdir(parents=True)
    index = Index("run", write=False)
    assert checked(opened(voc, index=index))[1] == [0, 1, 2, 3]


def test_other_code_knows_nothing(voc, monkeypatch):
    checked(opened(voc))
    monkeypatch.setattr(module, "_code", lambda: "another version")
    assert checked(opened(voc))[1] == [0, 1, 2, 3]


def test_one_process_writes(voc):
    checked(opened(voc, index=Index("run", write=False)))
    assert not Path("run").exists()
    checked(opened(voc))
    assert [path.name for path in Path("run").iterdir()] == [INDEX_FILE]  # no partial file either
    assert checked(opened(voc, index=Index("run", write=False)))[1] == []


def test_pages_and_other_entries_are_told_apart(voc):
    path = voc / "JPEGImages/picture0.jpg"
    infos = [{"image_path": path}, {"image_path": path, "page": 1}, {"image_path": path, "box": 3}]
    for kind in ("fingerprint", "other"):
        for _ in range(2):
            index = Index("run")
            for number, info in enumerate(infos):
                found = index.remember(kind, [info], lambda n=number, k=kind: {k: n}, (16, 16))
                assert found == {kind: number}
            index.save()
    index = Index("run")
    assert [index.remember("other", [info], None, (16, 16))["other"] for info in infos] == [0, 1, 2]
    rows = json.loads(gzip.decompress(Path("run", INDEX_FILE).read_bytes()))
    assert len(rows) == 6


def test_a_result_is_the_same_at_first_and_later(voc):
    """As JSON gives it back; arrays become lists."""
    infos = [{"image_path": voc / "JPEGImages/picture0.jpg"}]
    index = Index("run")
    wanted = {"1": [2.5, None], "a": [[1, 2], [3, 4]]}
    found = {1: (2.5, None), "a": np.array([[1, 2], [3, 4]])}
    assert index.remember("kind", infos, lambda: found) == wanted
    assert index.remember("kind", infos, None) == wanted


@pytest.mark.parametrize("info", [{}, {"image_path": "none.png"}, {"image_path": 7.5}])
def test_what_is_no_file_is_not_remembered(info):
    index, calls = Index("run"), []
    for _ in range(2):
        index.remember("kind", [info], lambda: calls.append(1))
    assert len(calls) == 2


def test_train_takes_it(eagerly, voc, call, monkeypatch):
    """A run that is resumed reads no mask; --overwrite and another canvas as they must."""
    write_voc(voc, size=(8, 8))
    args = ("train", "--data", voc, "--class-names", "background,a,b", "--filters", 1)
    args += ("--size", 16, 16, "--no-aug")
    status, _, err = call(*args, "--epochs", 1)
    assert status == 0, err
    assert (Path("runs/voc") / INDEX_FILE).is_file()
    read, plain = [], VOCDataset.load
    monkeypatch.setattr(
        "core.dataset.Dataset.load", lambda self, n: (read.append(n), plain(self, n))[1]
    )
    fit = []
    monkeypatch.setattr("core.training.fit.train", lambda *a, **k: fit.append(len(read)) or [])
    monkeypatch.setattr("core.evaluation.samples.draw_samples", lambda *a: None)
    monkeypatch.setattr("core.training.checkpoint.print_best", lambda *a: None)
    call(*args, "--epochs", 2)
    call(*args, "--epochs", 2, "--overwrite")
    call(*args, "--epochs", 2, "--overwrite", "--size", 32, 32)
    assert fit == [0, 0, 6]


def test_an_index_from_before_says_nothing_of_changes(voc):
    """Its rows had no digest of the files alone."""
    first, _ = checked(opened(voc))
    path = Path("run", INDEX_FILE)
    rows = json.loads(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(json.dumps({k: row[:2] for k, row in rows.items()}).encode()))
    later(voc / "JPEGImages/picture5.jpg")
    data = opened(voc)
    assert checked(data) == (first, [3]) and data.index.changed == set()
    later(voc / "JPEGImages/picture5.jpg", 2)
    data = opened(voc)
    checked(data)
    assert data.index.changed == {str(voc / "JPEGImages/picture5.jpg")}


def test_a_run_that_is_resumed_says_which_files_have_changed(eagerly, tmp_path, call):
    """Once: at the next start they are known."""
    for number in range(4):
        for part, value in (("images", 200), ("masks", 1)):
            path = tmp_path / "own" / part / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(16, dtype=np.uint8) * value).save(path)
    flags = ("--data", tmp_path / "own", "--size", 16, 16, "--filters", 1, "--epochs")
    assert "have changed" not in call("train", *flags, 1)[2]
    assert "have changed" not in call("train", *flags, 2)[2]
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "own/images/1.png")
    later(tmp_path / "own/masks/3.png")
    status, _, err = call("train", *flags, 3)
    text = (
        "Since the last start, 2 of the images or their masks have changed: 1.png, 3.png. Add --ov"
    )
    assert status == 0 and text in err, err
    assert "have changed" not in call("train", *flags, 4)[2]
