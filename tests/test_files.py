import pytest

from core.support.errors import UserError
from core.support.files import alone_in, check_folder, replacing, write_csv, write_text


def test_replacing_is_all_or_nothing(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "whole\n")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "whole\n"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file(tmp_path):
    """Each has a file of its own beside it; whoever ends last has the word."""
    path = tmp_path / "file.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="table.csv: cannot be written"):
        write_csv(tmp_path / "file" / "table.csv", [[1]])


def test_folders_are_made_when_something_is_written(tmp_path):
    assert check_folder(tmp_path / "run" / "1") == tmp_path / "run" / "1"
    assert not (tmp_path / "run").exists()
    write_csv(tmp_path / "run" / "1" / "table.csv", [[1]])
    assert [path.name for path in (tmp_path / "run" / "1").iterdir()] == ["table.csv"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run: cannot be written to"):
        check_folder(tmp_path / "file" / "run")
    with pytest.raises(UserError, match="/sys/kernel: cannot be written to"):
        check_folder("/sys/kernel")


def test_csv(tmp_path):
    write_csv(tmp_path / "table.csv", [["a", "b"], ["x,y", None]])
    assert (tmp_path / "table.csv").read_bytes() == b'a,b\n"x,y",\n'


def test_one_training_in_a_folder(tmp_path):
    with (
        alone_in(tmp_path / "run"),
        pytest.raises(UserError, match="another training"),
        alone_in(tmp_path / "run"),
    ):
        pass
    with alone_in(tmp_path / "run"):
        pass
