"""What is written is written whole, through no link, and what a killed process leaves behind is removed."""

import errno
import os

import pytest
from typer.testing import CliRunner

from rnnzoo.zoo_builder.cli import app
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.schema import ROOMS
from rnnzoo.zoo_builder.storage.writing import (
    TEMPORARY_FILES,
    check_new,
    clear_abandoned,
    new_folder,
    replacing,
    write_file,
    write_single,
)


def killed_within(context):
    """Enter the context in a child process, which is then gone at once."""
    child = os.fork()
    if child == 0:
        try:
            place = context.__enter__()
            if hasattr(place, "write"):
                place.write(b"half")
                place.flush()
            else:
                (place / "file").write_text("half")
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def write_half(folder):
    write_file(folder / "file", b"half")
    raise KeyError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_link_is_replaced_and_not_followed(tmp_path):
    precious, place = tmp_path / "precious", tmp_path / "place"
    precious.write_text("precious")
    place.symlink_to(precious)
    write_file(place, b"new")
    assert (precious.read_text(), place.read_bytes(), place.is_symlink()) == ("precious", b"new", False)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_left_alone(tmp_path, make):
    make(tmp_path / "place")
    with pytest.raises(RnnzooError, match=r"place: found .*, expected a file or none"):
        write_file(tmp_path / "place", b"new")
    assert names(tmp_path) == ["place"]


def test_temporary_files_that_nobody_writes_to_are_removed(tmp_path):
    write_file(tmp_path / "a" / "file", b"whole")
    killed_within(replacing(tmp_path / "a" / "file"))
    assert len(names(tmp_path / "a")) == 2
    with replacing(tmp_path / "a" / "other") as file:
        file.write(b"being written")
        (tmp_path / "a" / ".notes.tmp").write_text("of the user")
        clear_abandoned(tmp_path.rglob(TEMPORARY_FILES))
    assert names(tmp_path / "a") == [".notes.tmp", "file", "other"]
    assert (tmp_path / "a" / "file").read_bytes() == b"whole"


def test_a_file_by_itself_leaves_nothing_beside_it(tmp_path):
    for name in ("a [1]*", "a"):
        killed_within(replacing(tmp_path / name))
    write_single(tmp_path / "a [1]*", b"whole")
    assert [name[:3] for name in names(tmp_path)] == [".a.", "a ["]


def test_folders_that_nobody_fills_are_removed(tmp_path):
    out = tmp_path / "out [1]*"
    for _ in range(3):
        killed_within(new_folder(out))
    killed_within(new_folder(tmp_path / "out"))  # of another name
    (tmp_path / ".out [1]*.mine.new").mkdir()
    (tmp_path / ".out [1]*.mine.new" / "notes").write_text("of somebody else")
    with new_folder(out) as folder:
        (folder / "file").write_text("whole")
        with pytest.raises(KeyError), new_folder(out):  # another process that makes the same leaves this one alone
            raise KeyError
        assert len(names(tmp_path)) == 3
    assert names(out) == ["file"]
    left = {name.split(".")[1] for name in names(tmp_path) if name != out.name}
    assert left == {"out", "out [1]*"}
    with pytest.raises(RnnzooError, match="exists"), new_folder(out):
        pass


def test_a_folder_whose_maker_was_killed_at_the_very_end_is_whole(tmp_path):
    out = tmp_path / "out"
    killed_within(new_folder(out))
    (workspace,) = tmp_path.iterdir()
    (workspace / "folder").rename(out)
    with pytest.raises(RnnzooError, match="exists"):
        check_new(out)
    assert names(tmp_path) == ["out"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "out") as folder:
        write_half(folder)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(RnnzooError, match="out: could not be written: No space left on device"),
        new_folder(tmp_path / "out"),
    ):
        raise full
    with pytest.raises(RnnzooError) as error, new_folder(tmp_path / "out") as folder, replacing(folder / "file"):
        raise full
    problem = f"{tmp_path / 'out' / 'file'}: could not be written: No space left on device; make room or choose"
    assert str(error.value).startswith(problem)  # and no word of files that are kept: none is
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RnnzooError, match="exists"), new_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["out"]


COMMANDS = {
    "info": (["info", "zoo"], "zoo/overview.png"),
    "info --figure": (["info", "zoo", "--figure", "figure.svg"], "figure.svg"),
    "card": (["card", "zoo", "--out", "card.md"], "card.md"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_write_through_no_link(copied, name, monkeypatch):
    monkeypatch.chdir(copied.parent)
    command, place = COMMANDS[name]
    (copied.parent / "precious").write_text("precious")
    (copied.parent / place).symlink_to(copied.parent / "precious")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert (copied.parent / "precious").read_text() == "precious"
    assert (copied.parent / place).stat().st_size > 100


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_zoo_that_one_may_only_read_is_summed_up(code, copied, monkeypatch):
    """The figure is beside the point then, unless it was asked for."""

    def refuse(path, content):
        raise RnnzooError(f"{path}: could not be written: {os.strerror(code)}")

    monkeypatch.setattr("rnnzoo.zoo_builder.storage.writing.write_single", refuse)
    result = CliRunner().invoke(app, ["info", str(copied)])
    assert result.exit_code == 0, result.output
    assert f"no figure: {copied / 'overview.png'}: could not be written: {os.strerror(code)}." in result.output
    asked = CliRunner().invoke(app, ["info", str(copied), "--figure", str(copied / "mine.png")])
    assert isinstance(asked.exception, RnnzooError)


@pytest.mark.parametrize(
    ("code", "hint"), [(errno.EACCES, "; choose another place"), (errno.ENOSPC, "; make room or")]
)
def test_room_is_made_where_there_is_none(code, hint, tmp_path):
    problem = OSError(code, os.strerror(code))
    with (
        pytest.raises(RnnzooError, match=f"could not be written: {os.strerror(code)}{hint}"),
        replacing(tmp_path / "a"),
    ):
        raise problem


@pytest.mark.parametrize("room", ROOMS)
def test_a_build_writes_into_no_folder_that_is_a_link(tmp_path, room):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / room).symlink_to(tmp_path / "elsewhere")
    result = CliRunner().invoke(
        app, ["build", "formal_languages", "--out", str(tmp_path / "zoo"), "--kernel", "torch"]
    )
    assert isinstance(result.exception, RnnzooError)
    assert f"{room}: a link, expected a folder" in str(result.exception)
    assert not names(tmp_path / "elsewhere")
