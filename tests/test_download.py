"""The downloader, against a server on 127.0.0.1 that serves tiny archives of the real shapes."""

import hashlib
import io
import itertools
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from core.config import ISBI_HOME, PRESETS, VOC_HOME
from core.imaging.draw import voc_palette
from core.imaging.image import read_mask
from core.sources.choose import open_dataset
from tools import download, fetch

ROOT = Path(__file__).parent.parent
VOC_MASKS = {name: np.full((16, 16), value, np.uint8) for value, name in enumerate("abcd", 1)}
SBD_MASKS = {name: np.full((16, 16), value, np.uint8) for value, name in enumerate("acef", 11)}
SBD_MASKS["e"] = (np.arange(256, dtype=np.uint8) % 21).reshape(16, 16)  # tells rows from columns


def hidden(url, name="isbi"):
    return download.hidden(Path("data"), name, url).name


def partial(server):
    """The name of what a broken download of isbi.zip leaves."""
    return hidden(server.url("isbi.zip")) + ".part"


def encoded(picture, kind):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def jpeg(grey):
    return encoded(Image.new("RGB", (16, 16), (grey,) * 3), "JPEG")


def png(mask):
    picture = Image.fromarray(mask)
    picture.putpalette(voc_palette().tobytes())
    return encoded(picture, "PNG")


def mat(mask, **options):
    file = io.BytesIO()
    scipy.io.savemat(file, {"GTcls": {"Segmentation": mask}}, **options)
    return file.getvalue()


def stack(greys):
    file = io.BytesIO()
    first, *rest = (Image.new("L", (16, 16), grey) for grey in greys)
    first.save(file, "TIFF", save_all=True, append_images=rest)
    return file.getvalue()


def tar(files, mode="w", links=()):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return file.getvalue()


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def lists(folder, **ids):
    return {f"{folder}/{name}.txt": "".join(f"{i}\n" for i in part) for name, part in ids.items()}


def as_bytes(files):
    return {name: text.encode() for name, text in files.items()}


VOC_FILES = {
    **{f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg": jpeg(50) for name in "abcde"},
    **{f"VOCdevkit/VOC2012/SegmentationClass/{name}.png": png(VOC_MASKS[name]) for name in "abcd"},
    **as_bytes(
        lists("VOCdevkit/VOC2012/ImageSets/Segmentation", train="ab", val="cd", trainval="abcd")
    ),
}
SBD_FILES = {
    **{f"benchmark_RELEASE/dataset/img/{name}.jpg": jpeg(200) for name in "acef"},
    **{f"benchmark_RELEASE/dataset/cls/{name}.mat": mat(SBD_MASKS[name]) for name in "acef"},
    **as_bytes(lists("benchmark_RELEASE/dataset", train="ace", val="f")),
    "benchmark_RELEASE/README": b"code and data",
}
ISBI_FILES = {
    "challenge/train-volume.tif": stack([10, 11, 12, 13, 14]),
    "challenge/train-labels.tif": stack([0, 255, 0, 255, 255]),
    "challenge/test-volume.tif": stack([20, 21]),
    "__MACOSX/challenge/._train-volume.tif": b"what a Mac adds",
}
ARCHIVES = {
    "voc.tar": tar(VOC_FILES),
    "sbd.tgz": tar(SBD_FILES, "w:gz"),
    "isbi.zip": zipped(ISBI_FILES),
}


class Server(ThreadingHTTPServer):
    """Serves `files`; what it shall do wrong is said by its attributes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(ARCHIVES)
        self.requests = []  # pairs of a name and the Range that was asked for
        self.limits = iter(())  # for each next answer, the byte of the file where it is cut
        self.ranges = True  # whether it knows Range
        self.sizes = True  # whether it says how long the file is
        self.modified = 1.3e9
        self.shift = 0  # how many bytes before the asked Range it begins
        self.dawdle = None  # an event to wait for where an answer is cut

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def asked(self):
        """The ranges that were asked for since the last time."""
        asked, self.requests = [span for _, span in self.requests], []
        return asked


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, span = self.path.strip("/"), self.headers["Range"]
        self.server.requests.append((name, span))
        if name.isdecimal():
            return self.send_error(int(name))
        if name == "moved":
            self.send_response(302)
            self.send_header("Location", self.server.url("isbi.zip"))
            return self.end_headers()
        content = self.server.files.get(name)
        if content is None:
            return self.send_error(404)
        start = int(span.split("=")[1].rstrip("-")) if span and self.server.ranges else 0
        since = self.headers["If-Unmodified-Since"]
        if start and since and parsedate_to_datetime(since).timestamp() < self.server.modified:
            return self.send_error(412)
        if start >= len(content):
            return self.send_error(416)
        start = max(0, start - self.server.shift)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.sizes:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = next(self.server.limits, len(content))
        self.wfile.write(content[start:end])
        if end < len(content) and self.server.dawdle:
            self.server.dawdle.wait(20)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSES", (0, 0, 0))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def homes(server, monkeypatch):
    """The homes of the data sets are the server's, and their checksums are known."""
    for name, file in (("voc", "voc.tar"), ("sbd", "sbd.tgz"), ("isbi", "isbi.zip")):
        checksum = None if name == "isbi" else hashlib.md5(ARCHIVES[file]).hexdigest()
        home = download.HOMES[name]._replace(url=server.url(file), checksum=checksum)
        monkeypatch.setitem(download.HOMES, name, home)
    return server


@pytest.fixture
def get(call):
    return lambda *args: call("tools.download", *args)


def files(folder="data"):
    """The names of all files and all empty folders."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() or not any(path.iterdir())]
    return {path.relative_to(folder).as_posix() for path in paths}


def assert_refused(result, *parts):
    """One line on stderr, besides what is said of finished steps."""
    status, out, err = result
    assert status == 2 and (
        out == "" or out.endswith("VOC2012: PASCAL VOC 2012 is there already.\n")
    )
    assert err.count("\n") == 1
    line = err.strip()
    assert "download.py: " in line
    for part in parts:
        assert part in line


def isbi_is_right():
    return files() == {f"isbi/{name}" for name in FILES_OF_ISBI} and all(
        Path(f"data/isbi/{name}").read_bytes() == ISBI_FILES[f"challenge/{name}"]
        for name in FILES_OF_ISBI
    )


FILES_OF_ISBI = ("train-volume.tif", "train-labels.tif", "test-volume.tif")


def content_of(folder):
    return {name: (Path(folder) / name).read_bytes() for name in files(folder)}


# What goes well


def test_voc(homes, get):
    status, out, err = get("voc")
    assert status == 0
    assert out == "data/VOCdevkit/VOC2012: PASCAL VOC 2012 is there now.\n"
    assert err == ""
    assert content_of("data") == VOC_FILES
    assert homes.asked() == [None]


def test_isbi(homes, get):
    status, out, err = get("isbi")
    assert (status, out) == (0, "data/isbi: ISBI 2012 is there now.\n")
    assert err == ""
    assert isbi_is_right()


def test_sbd(homes, get):
    status, out, _ = get("voc", "--sbd")
    assert status == 0 and [line.split(":")[0] for line in out.splitlines()] == [
        "data/VOCdevkit/VOC2012",
        "data/VOCdevkit/VOC2012/SegmentationClassAug",
    ]
    voc = "VOCdevkit/VOC2012"
    found = content_of("data")
    expected = {
        **VOC_FILES,
        **{f"{voc}/SegmentationClassAug/{name}.png": png(VOC_MASKS[name]) for name in "abcd"},
        **as_bytes(lists(f"{voc}/ImageSets/SegmentationAug", train="abef", val="cd")),
        f"{voc}/JPEGImages/f.jpg": jpeg(200),
    }
    drawn = {f"{voc}/SegmentationClassAug/{name}.png": SBD_MASKS[name] for name in "ef"}
    assert {name: found[name] for name in expected} == expected
    assert set(found) == set(expected) | set(drawn)
    for name, mask in drawn.items():
        np.testing.assert_array_equal(read_mask(Path("data") / name), mask)
        with Image.open(Path("data") / name) as picture:
            assert picture.mode == "P" and picture.getpalette() == voc_palette().ravel().tolist()
    assert [name for name, _ in homes.requests] == ["voc.tar", "sbd.tgz"]


def test_sbd_of_a_mirror_for_a_voc_that_is_there(homes, get):
    assert get("voc")[0] == 0
    homes.files["mirror.tgz"] = ARCHIVES["sbd.tgz"]
    homes.requests.clear()
    sha = hashlib.sha256(ARCHIVES["sbd.tgz"]).hexdigest()
    assert get("voc", "--sbd", "--url", homes.url("mirror.tgz"), "--checksum", sha)[0] == 0
    assert homes.requests == [("mirror.tgz", None)]
    assert Path("data/VOCdevkit/VOC2012/SegmentationClassAug/f.png").is_file()


@pytest.mark.parametrize("args", [("voc",), ("voc", "--sbd"), ("isbi",)])
def test_a_second_call_needs_no_network(homes, get, args):
    assert get(*args)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")}
    homes.requests.clear()
    status, out, err = get(*args)
    folder = "data/isbi" if args == ("isbi",) else "data/VOCdevkit/VOC2012"
    assert (status, err) == (0, "")
    assert out.startswith(f"{folder}: ") and homes.requests == []
    assert all(line.endswith("is there already.") for line in out.splitlines())
    assert {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")} == before


def test_what_was_downloaded_opens(homes, get):
    assert get("voc")[0] == 0 and get("isbi")[0] == 0
    assert download.HOMES["voc"].folder == Path(VOC_HOME).relative_to("data").as_posix()
    assert download.HOMES["isbi"].folder == Path(ISBI_HOME).relative_to("data").as_posix()
    opened = {
        (name, split): open_dataset(PRESETS[name], split)
        for name, split in itertools.product(("voc", "isbi"), ("train", "val"))
    }
    assert [len(data.image_info) for data in opened.values()] == [2, 2, 4, 1]
    assert (opened["voc", "val"].read_mask(1) == 4).all()
    assert (opened["isbi", "val"].read_image(0) == 14).all()
    assert (opened["isbi", "train"].read_mask(1) == 1).all()
    assert get("voc", "--sbd")[0] == 0
    augmented = open_dataset(PRESETS["voc"], "train")
    np.testing.assert_array_equal(augmented.read_mask(2), SBD_MASKS["e"])
    assert len(augmented.image_info) == 4 and (augmented.read_mask(0) == 1).all()


def test_another_folder_and_a_file(get, tmp_path):
    (tmp_path / "my archive.zip").write_bytes(
        zipped({"train-volume.tif": stack([1, 2]), "train-labels.tif": stack([0, 0])})
    )
    url = (tmp_path / "my archive.zip").as_uri()
    assert get("isbi", "--output", "a/b", "--url", url)[0] == 0
    assert files("a") == {"b/isbi/train-volume.tif", "b/isbi/train-labels.tif"}
    assert (tmp_path / "my archive.zip").is_file()


# Checksums


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_checksums(server, get, kind):
    right = hashlib.new(kind, ARCHIVES["isbi.zip"]).hexdigest()
    args = ("isbi", "--url", server.url("isbi.zip"), "--checksum")
    assert_refused(get(*args, "0" * len(right)), "isbi.zip", kind, right, "deleted", "again")
    assert files() == set()
    assert get(*args, right.upper())[0] == 0 and isbi_is_right()


def test_the_known_checksum_is_that_of_the_home(homes, get):
    homes.files["voc.tar"] = tar({**VOC_FILES, "VOCdevkit/more": b""})
    assert_refused(get("voc"), "md5")
    assert_refused(get("voc", "--url", homes.url("voc.tar")), "md5")
    assert files() == set()
    homes.files["mirror.tar"] = homes.files["voc.tar"]
    assert get("voc", "--url", homes.url("mirror.tar"))[0] == 0


def test_the_real_homes():
    assert download.HOMES["voc"].checksum == "6cd6e144f989b92b3379bac3b3de84fd"
    assert download.HOMES["sbd"].checksum == "82b4d87ceb2ed10f6038a1cba92111cb"
    assert download.HOMES["voc"].url.endswith("/VOCtrainval_11-May-2012.tar")


# Broken connections


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_is_cut(server, get, ranges):
    server.limits, server.ranges = iter([300]), ranges
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0
    assert server.asked() == [None, "bytes=300-"] and isbi_is_right()


def test_a_home_that_has_moved(server, get):
    server.limits = iter([300])
    assert get("isbi", "--url", server.url("moved"))[0] == 0 and isbi_is_right()
    assert server.asked() == [None, None, "bytes=300-", "bytes=300-"]


def test_a_server_that_sends_another_part(server, get):
    server.limits, server.shift = iter([300]), 10
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0 and isbi_is_right()
    assert server.asked() == [None, "bytes=300-", None]


def test_a_connection_that_is_cut_again_and_again(server, get):
    size = len(ARCHIVES["isbi.zip"])
    server.limits = iter(range(50, size, 50))
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0
    assert len(server.requests) == len(range(0, size, 50)) and isbi_is_right()


@pytest.mark.parametrize("ranges", [True, False])
def test_the_next_call_goes_on(server, get, ranges):
    server.limits, server.ranges = itertools.repeat(300), ranges
    args = ("isbi", "--url", server.url("isbi.zip"))
    size = len(ARCHIVES["isbi.zip"])
    assert_refused(get(*args), "isbi.zip", f"300 of {size:,} bytes", "same command resumes")
    assert files() == {partial(server)}
    assert Path("data", partial(server)).read_bytes() == ARCHIVES["isbi.zip"][:300]
    assert 2 <= len(server.asked()) <= 6
    server.limits = iter(())
    assert get(*args)[0] == 0 and server.asked() == ["bytes=300-"] and isbi_is_right()


def test_a_server_that_tells_no_size(server, get):
    server.sizes = False
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0 and isbi_is_right()


@pytest.mark.parametrize(("size", "modified"), [(10**5, 1.3e9), (300, 4e9)])
def test_a_partial_file_of_another_archive(server, get, size, modified):
    """One that is longer (416), and one that is older than the server's file (412)."""
    server.modified = modified
    Path("data").mkdir()
    Path("data", partial(server)).write_bytes(bytes(size))
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0
    assert server.asked() == [f"bytes={size}-", None] and isbi_is_right()


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 4)])
def test_a_server_that_refuses(server, get, status, tries):
    assert_refused(get("isbi", "--url", server.url(status)), f"/{status}", str(status), "--url")
    assert len(server.requests) == tries and files() == set()


def test_nobody_listens(server, get):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        port = other.server_port
    refused = get("isbi", "--url", f"http://127.0.0.1:{port}/isbi.zip")
    assert_refused(refused, f"{port}/isbi.zip", "Connection refused", "0 bytes", "same command")
    assert files() == set()


def test_a_server_that_falls_silent(server, get, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    server.dawdle, server.limits = threading.Event(), iter([300])
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0 and isbi_is_right()
    assert server.asked() == [None, "bytes=300-"]
    server.dawdle.set()


# Archives that cannot be used

GOOD = {name: ISBI_FILES[f"challenge/{name}"] for name in FILES_OF_ISBI}
SYMBOLIC, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("up.tar", tar({**GOOD, "../evil": b"x"})),
        ("up.tgz", tar({**GOOD, "a/../../evil": b"x"}, "w:gz")),
        ("up.zip", zipped({**GOOD, "../evil": b"x"})),
        ("back.zip", zipped({**GOOD, "..\\evil": b"x"})),
        ("absolute.tar", tar({**GOOD, "/tmp/evil": b"x"})),
        ("absolute.zip", zipped({**GOOD, "/tmp/evil": b"x"})),
        ("drive.zip", zipped({**GOOD, "C:/evil": b"x"})),
        ("link.tar", tar(GOOD, links=[("evil", "../../evil.txt", SYMBOLIC)])),
        ("link2.tar", tar(GOOD, links=[("evil", "/etc/passwd", SYMBOLIC)])),
        ("link3.tar", tar(GOOD, links=[("evil", "../../evil.txt", HARD)])),
    ],
)
def test_archives_that_lead_out(server, get, name, content):
    Path("evil.txt").write_text("mine")
    server.files[name] = content
    assert_refused(get("isbi", "--url", server.url(name)), name, "evil", "outside", "--url")
    assert files() == set() and Path("evil.txt").read_text() == "mine"
    assert {path.name for path in Path().iterdir()} == {"data", "evil.txt"}
    assert not Path("/tmp/evil").exists()


def test_links_within_an_archive(server, get):
    links = [("train-labels.tif", "./x/labels.tif", SYMBOLIC), ("b.tif", "x/labels.tif", HARD)]
    inner = {"train-volume.tif": stack([1, 2]), "x/labels.tif": stack([0, 0])}
    server.files["links.tar"] = tar(inner, links=links)
    assert get("isbi", "--url", server.url("links.tar"))[0] == 0
    for name in ("train-labels.tif", "b.tif"):
        assert Path("data/isbi", name).read_bytes() == inner["x/labels.tif"]


def test_links_in_a_zip_file_become_files(server, get):
    file = io.BytesIO(zipped(GOOD))
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("evil")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../../evil.txt")
    server.files["link.zip"] = file.getvalue()
    Path("evil.txt").write_text("mine")
    assert get("isbi", "--url", server.url("link.zip"))[0] == 0
    path = Path("data/isbi/evil")
    assert not path.is_symlink() and path.read_text() == "../../evil.txt"
    assert Path("evil.txt").read_text() == "mine"


def test_a_python_that_cannot_unpack_safely(homes, get, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    assert_refused(get("isbi"), "cannot unpack", "3.10.12, 3.11.4, 3.12")
    assert homes.requests == [] and not Path("data").exists()


def without_the_last(contents):
    """A tar that ends where its last file should begin, which Python takes for its end."""
    content = tar(dict(reversed(contents.items())))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return content[: archive.getmembers()[-1].offset]


@pytest.mark.parametrize(
    ("dataset", "name", "content"),
    [
        ("voc", "middle.tar", ARCHIVES["voc.tar"][: len(tar(VOC_FILES)) // 3]),
        ("voc", "boundary.tar", without_the_last(VOC_FILES)),
        ("voc", "middle.tgz", tar(VOC_FILES, "w:gz")[:-2000]),
        ("isbi", "middle.zip", ARCHIVES["isbi.zip"][:-100]),
        ("isbi", "bits.zip", ARCHIVES["isbi.zip"][:60] + b"XX" + ARCHIVES["isbi.zip"][62:]),
        ("isbi", "clash.tar", tar({**GOOD, "a": b"x", "a/b": b"x"})),
        ("isbi", "page.zip", b"<html>Sign in to continue</html>"),
        ("isbi", "empty.zip", b""),
        ("isbi", "other.zip", zipped({"a.txt": b"x"})),
        ("isbi", "voc.tar", ARCHIVES["voc.tar"]),
    ],
)
def test_archives_that_are_damaged_or_others(server, get, dataset, name, content):
    server.files[name] = content
    assert_refused(get(dataset, "--url", server.url(name)), server.url(name), "--url")
    assert files() == set()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"cls/f.mat": None}, "f.mat"),
        ({"cls/f.mat": b"no mat"}, "f.mat"),
        ({"cls/f.mat": mat(np.zeros((2, 2, 2)))}, "f.mat"),
        ({"img/f.jpg": None}, "f.jpg"),
        ({"train.txt": b"../../f\n"}, "../../f"),
        ({"val.txt": None}, "val.txt"),
    ],
)
def test_an_sbd_that_cannot_be_used(homes, get, change, part):
    assert get("voc")[0] == 0
    changed = {f"benchmark_RELEASE/dataset/{name}": content for name, content in change.items()}
    left = {name: content for name, content in {**SBD_FILES, **changed}.items() if content}
    homes.files["other.tgz"] = tar(left, "w:gz")
    assert_refused(get("voc", "--sbd", "--url", homes.url("other.tgz")), "other.tgz", part)
    assert content_of("data") == VOC_FILES


# A disk that is full, and Ctrl-C


def process(*args, limit=None, **options):
    """Starts the downloader in a process that can write files of at most `limit` bytes."""
    full = limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tools.download", *args]
    return subprocess.Popen(
        command, env=environment, preexec_fn=full, text=True, stdout=-1, stderr=-1, **options
    )


def result(started):
    out, err = started.communicate(timeout=20)
    return started.returncode, out, err


def test_a_full_disk_while_downloading(server, get):
    args = ("isbi", "--url", server.url("isbi.zip"))
    refused = result(process(*args, limit=500))
    assert_refused(refused, partial(server), "File too large", "500 of", "same command resumes")
    assert files() == {partial(server)}
    server.requests.clear()
    assert get(*args)[0] == 0 and server.asked() == ["bytes=500-"] and isbi_is_right()


def test_a_full_disk_while_unpacking(server, get):
    server.files["large.zip"] = zipped({**GOOD, "large": bytes(300_000)})
    args = ("isbi", "--url", server.url("large.zip"))
    refused = result(process(*args, limit=100_000))
    assert_refused(refused, "data/isbi", "File too large", "archive is kept")
    assert files() == {hidden(server.url("large.zip"))}
    server.requests.clear()
    assert get(*args)[0] == 0 and server.asked() == []
    assert files() == {f"isbi/{name}" for name in (*GOOD, "large")}


def test_a_full_disk_while_building_masks(homes, get):
    """A mask that is small by columns, as SBD keeps it, and large by rows, as PNG does."""
    assert get("voc")[0] == 0
    row = np.random.default_rng(0).integers(0, 21, 40_000, np.uint8)
    large = {"cls/e.mat": mat(np.tile(row, (20, 1)), do_compression=True)}
    changed = {f"benchmark_RELEASE/dataset/{name}": content for name, content in large.items()}
    homes.files["large.tgz"] = tar({**SBD_FILES, **changed}, "w:gz")
    args = ("voc", "--sbd", "--url", homes.url("large.tgz"))
    status, _, err = result(process(*args, limit=200_000))
    assert status == 2 and err.splitlines()[-1].count("File too large") == 1
    assert err.count("\n") == 1
    found = content_of("data")
    assert (
        found.pop(hidden(homes.url("large.tgz"), "sbd")) == homes.files["large.tgz"]
        and found == VOC_FILES
    )
    homes.requests.clear()
    assert get(*args)[0] == 0 and homes.requests == []
    assert not Path("data", hidden(homes.url("large.tgz"), "sbd")).exists()


def test_ctrl_c_while_downloading(server, get):
    server.limits, server.dawdle = iter([300]), threading.Event()
    args = ("isbi", "--url", server.url("isbi.zip"))
    started = process(*args)
    part = Path("data", partial(server))
    deadline = time.monotonic() + 10
    while not (part.exists() and part.stat().st_size == 300):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    status, out, err = result(started)
    server.dawdle.set()
    assert (status, out) == (130, "") and err.endswith("download.py: interrupted.\n")
    assert err.count("\n") == 1 and files() == {partial(server)}
    server.requests.clear()
    assert get(*args)[0] == 0 and server.asked() == ["bytes=300-"] and isbi_is_right()


@pytest.mark.parametrize("args", [("voc",), ("voc", "--sbd")])
def test_ctrl_c_while_unpacking_or_building(homes, get, monkeypatch, args):
    if "--sbd" in args:
        assert get("voc")[0] == 0
    before = content_of("data") if Path("data").exists() else {}

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        copies = "shutil.copyfile" if "--sbd" in args else "tarfile.copyfileobj"
        patched.setattr(copies, interrupted)
        status, out, err = get(*args)
    assert status == 130 and err.endswith("interrupted.\n")
    found = content_of("data")
    name, archive = ("sbd", "sbd.tgz") if "--sbd" in args else ("voc", "voc.tar")
    left = hidden(download.HOMES[name].url, name)
    assert found.pop(left) == ARCHIVES[archive] and found == before
    homes.requests.clear()
    assert get(*args)[0] == 0 and homes.requests == []


def test_a_process_that_was_killed_leaves_nothing_for_long(homes, get):
    for name in (".VOC2012-partial", "VOC2012"):  # half unpacked; empty
        Path("data/VOCdevkit", name).mkdir(parents=True)
    Path("data/VOCdevkit/.VOC2012-partial/half").touch()
    assert get("voc")[0] == 0 and content_of("data") == VOC_FILES


# What the user has to put right


def test_other_data_in_the_way(homes, get):
    for name in ("isbi/image/1.png", "VOCdevkit/VOC2012/JPEGImages/a.jpg"):
        Path("data", name).parent.mkdir(parents=True)
        Path("data", name).touch()
    before = files()
    assert_refused(get("isbi"), "data/isbi: ", "lacks train-volume.tif", "away")
    assert_refused(get("voc"), "data/VOCdevkit/VOC2012: ", "lacks ImageSets/Segmentation/train.txt")
    assert files() == before and homes.requests == []


def test_masks_of_somebody_else_in_the_way(homes, get):
    assert get("voc")[0] == 0
    Path("data/VOCdevkit/VOC2012/SegmentationClassAug").mkdir()
    Path("data/VOCdevkit/VOC2012/SegmentationClassAug/a.png").touch()
    status, _, err = get("voc", "--sbd")
    assert status == 2 and "SegmentationClassAug: lacks" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "part"),
    [
        ((), "required"),
        (("coco",), "'coco'"),
        (("isbi", "--sbd"), "--sbd"),
        (("isbi", "--url", "isbi.zip"), "isbi.zip"),
        (("isbi", "--url", "ftp://127.0.0.1/isbi.zip"), "http, https or file"),
        (("isbi", "--url", "http:///isbi.zip"), "--url"),
        (("isbi", "--url", "http://127.0.0.1:x/isbi.zip"), "--url"),
        (("isbi", "--url", "http://a..b/\u00e4 \x00.zip"), "a..b"),
        (("isbi", "--url", "file:///nowhere/isbi.zip"), "nowhere/isbi.zip"),
        (("isbi", "--checksum", "12345678"), "--checksum"),
        (("isbi", "--checksum", "g" * 32), "--checksum"),
        (("isbi", "--output", "/sys/kernel"), "/sys/kernel"),
    ],
)
def test_settings_that_cannot_work(get, args, part):
    assert_refused(get(*args), part)


def test_help_is_quick():
    code = (
        "import sys, tools.download; sys.argv = ['x', '--help']\n"
        "try: tools.download.main()\n"
        "except SystemExit: assert not {'keras', 'cv2', 'PIL', 'scipy', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "--checksum" in done.stdout, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "tools.download", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "tools.download" in done.stdout and done.stderr == ""


def test_a_server_that_sends_more_than_it_announced(server, get, monkeypatch):
    """A range that holds the whole file again and again would never end."""
    server.limits = iter([300])
    monkeypatch.setattr(fetch, "_extent", lambda headers, start: (start, 400))
    refused = get("isbi", "--url", server.url("isbi.zip"))
    assert_refused(refused, "the server sent more than it announced", "Name another home")
    assert files() == set()


def test_archives_of_other_urls_and_hidden_files_are_not_touched(server, get):
    other = hidden("http://127.0.0.1:1/other/isbi.zip")
    Path("data").mkdir()
    for name in (other, f"{other}.part", ".isbi.zip"):
        Path("data", name).write_text("of somebody else")
    assert get("isbi", "--url", server.url("isbi.zip"))[0] == 0
    assert all(Path("data", name).exists() for name in (other, f"{other}.part", ".isbi.zip"))
