"""Scripts whose stdout or stderr is closed at once, or early by its reader."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Writes more than a pipe holds to both streams, then a file, and ends as asked.
WORK = """
import sys
sys.path.insert(0, sys.argv[1])
from core.support import errors

def main():
    with open("early.txt", "w") as file:  # gets the lowest number that is free
        for number in range(4000):
            print("result", number, "x" * 40)
            print("progress", number, "y" * 40, file=sys.stderr)
        print("undecodable \\udcff")
        file.write("whole")
    open("late.txt", "w").write("whole")
    if sys.argv[2] == "2":
        raise errors.UserError("change something")
    return int(sys.argv[2])

errors.run(main)
"""
STREAMS = [
    "| head -1",
    "2>&1 | head -1",
    "2>&1 >/dev/null | head -1",
    "| true",
    ">&-",
    "2>&-",
    ">&- 2>&-",
    "<&- >&- 2>&-",
    "<&- 2>&-",
    "1</dev/null",
    "2</dev/null",
]


def shell(command):
    """Runs a command in bash; returns the exit status of its first part, and its output."""
    command = f"{command}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


# What compiled code makes of an interrupt in a call of Python: another error.
INTERRUPTED = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from core.support import errors, threads

def main():
    try:
        if len(sys.argv) > 2:
            signal.raise_signal(int(sys.argv[2]))
            time.sleep(60)
    except KeyboardInterrupt:
        pass
    if len(sys.argv) > 3:  # it was swallowed: the work goes on
        list(threads.mapped(abs, range(9), 1))
        return
    raise SystemError("returned a result with an exception set")

errors.run(main)
"""


@pytest.mark.parametrize("number", [2, 15])
def test_an_interrupt_that_became_another_error_is_one_all_the_same(number):
    command = [sys.executable, "-c", INTERRUPTED, ROOT]
    done = subprocess.run([*command, str(number)], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number and done.stderr == "-c: interrupted.\n"
    done = subprocess.run(
        [*command, str(number), "swallowed"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + number and done.stderr == "-c: interrupted.\n"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "SystemError: returned" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("status", [0, 1, 2])
@pytest.mark.parametrize("streams", STREAMS)
def test_the_work_goes_on_to_its_end(streams, status):
    Path("work.py").write_text(WORK)
    ended, out, err = shell(f"'{sys.executable}' work.py '{ROOT}' {status} {streams}")
    assert ended == status and "Traceback" not in err and "Exception ignored" not in err
    assert Path("early.txt").read_text() == Path("late.txt").read_text() == "whole"
    if status == 2 and streams == "| head -1":
        assert err.endswith("work.py: change something\n")


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("script", ["train.py", "predict.py", "evaluate.py", "-m tools.ship"])
def test_help(script, streams, monkeypatch):
    monkeypatch.chdir(ROOT)
    ended, _, err = shell(f"'{sys.executable}' {script} --help {streams}")
    assert ended == 0 and "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_reader_that_went_away():
    Path("work.py").write_text(WORK)
    ended, _, err = shell(f"'{sys.executable}' work.py '{ROOT}' 0 > /dev/full")
    assert ended == 2 and "No space left on device" in err and "Traceback" not in err


@pytest.mark.slow
def test_all_three_scripts(tmp_path, monkeypatch):
    """With no home, too; the files are all there, and the status is the one that is deserved."""
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    python = f"'{sys.executable}' '{ROOT}'"
    tiny = "--filters 2 --epochs 2 --batch-size 16 --size 32 32"
    ended, out, _ = shell(f"{python}/tests/shallow.py train.py {tiny} 2>&1 | head -1")
    assert (ended, out.count("\n")) == (0, 1)
    assert {"best.keras", "history.csv", "samples.png"} <= set(os.listdir("runs/sample"))
    assert len(Path("runs/sample/history.csv").read_text().splitlines()) == 3
    samples = tmp_path / ".keras/datasets/unet-sample-v1/JPEGImages"
    images = " ".join(f"'{samples}/val_00{number}.jpg'" for number in range(3))
    Path("bad.png").write_text("no image")
    for files, streams, status in (
        (f"bad.png {images}", "2>&1 | head -1", 1),
        (images, ">&- 2>&-", 0),
    ):
        assert shell(f"{python}/predict.py {files} --output out {streams}")[0] == status
        assert len(os.listdir("out")) == 7
        shutil.rmtree("out")
    assert shell(f"{python}/evaluate.py 2>&1 | head -1")[0] == 0
    Path("runs/sample/metrics.json").unlink()
