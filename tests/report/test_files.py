"""Files are whole or absent, and names are legal everywhere."""

import errno
import os
import stat
import sys

import pytest

from spatial_zb.base.errors import OutputError
from spatial_zb.report.files import atomic_path, slug, slugs, write_atomic


def test_text_is_utf8_and_replaces_the_old_file(tmp_path):
    path = tmp_path / "表.txt"
    path.write_text("old", encoding="utf-8")
    assert write_atomic(path, "杭州\n") == path
    assert path.read_bytes() == "杭州\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["表.txt"]


def test_bytes_are_written_as_they_are(tmp_path):
    assert write_atomic(tmp_path / "a.bin", b"\x00\r\n\xff").read_bytes() == b"\x00\r\n\xff"


def test_temporary_path_keeps_folder_and_suffix(tmp_path):
    with atomic_path(tmp_path / "map.tar.png") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        assert not (tmp_path / "map.tar.png").exists()
        temporary.write_bytes(b"x")
    assert (tmp_path / "map.tar.png").read_bytes() == b"x"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt], ids=["error", "ctrl-c"])
def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = write_atomic(tmp_path / "a.csv", "old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_refused(tmp_path):
    with pytest.raises(OutputError, match="nothing was written"), atomic_path(tmp_path / "a.png"):
        pass


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_atomic(tmp_path / "none" / "a.csv", "x")


def test_folder_in_the_way(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OutputError, match="a folder has this name"):
        write_atomic(tmp_path / "a.csv", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
    ids=["full", "read-only", "denied", "other"],
)
def test_system_errors_become_words_and_leave_the_old_file(tmp_path, monkeypatch, code, words):
    path = write_atomic(tmp_path / "a.csv", "old")

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=words):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses to replace an open file")
def test_a_reader_of_the_old_file_keeps_the_old_file(tmp_path):
    path = write_atomic(tmp_path / "a.csv", "old")
    with path.open() as reader:
        write_atomic(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file mode mask")
def test_the_mode_follows_the_mask_of_the_user(tmp_path):
    (tmp_path / "plain").write_text("x")
    path = write_atomic(tmp_path / "a", "x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("杭州市", "杭州市"),
        ("Hangzhou city", "Hangzhou-city"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\Windows\\x", "C-Windows-x"),
        ('a<b>:"|?*c', "a-b-c"),
        ("con", "con_"),
        ("COM¹", "COM1_"),
        ("trailing. ", "trailing"),
        ("a\x00b\nc", "a-b-c"),
        ("ＡＢ　Ｃ", "AB-C"),
        ("...", "untitled"),
        ("", "untitled"),
        ("\ud800x", "x"),
    ],
)
def test_slug(text, name):
    assert slug(text) == name


def test_slug_is_short_enough_and_cut_between_characters():
    name = slug("市" * 200)
    assert set(name) == {"市"}
    assert len(name.encode()) <= 180


def test_slug_is_idempotent():
    for text in ["杭州/宁波", "nul", "a b", "x" * 300]:
        assert slug(slug(text)) == slug(text)


def test_slugs_never_collide_even_without_case():
    names = slugs(["a/b", "a b", "A:B", "a-b-2"])
    assert len({name.casefold() for name in names}) == 4
    assert names[0] == "a-b"
