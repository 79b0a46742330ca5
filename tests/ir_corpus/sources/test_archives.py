"""Archives that try to leave their folder, that hold links, or that are damaged."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.sources.archives import extracted, top


def tar_of(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(info)
    return path


def test_what_escapes_is_left_out_and_counted(tmp_path: Path) -> None:
    members = {"p/a.c": b"int x;", "../evil.c": b"", "/etc/evil": b"", "p/../../up.c": b""}
    reasons = extracted(tar_of(tmp_path / "a.tar.gz", members, link="p/link"), tmp_path / "out" / "a")
    assert reasons == {"archive: escaping path": 3, "archive: link or device": 1}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.tar.gz", "a.c"]
    assert top(tmp_path / "out" / "a").name == "p"


def test_zip_files_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as file:
        file.writestr("p/a.py", "x = 1")
        file.writestr("../evil.py", "")
        file.writestr("..\\evil.py", "")
    assert extracted(tmp_path / "a.whl", tmp_path / "a") == {"archive: escaping path": 2}
    assert (tmp_path / "a" / "p" / "a.py").read_text() == "x = 1"


def test_too_large_members_are_left_out(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", {"big": b"\0" * (9 << 20), "small": b"x"})
    assert extracted(archive, tmp_path / "a") == {"archive: too large": 1}


def test_a_truncated_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", {f"f{n}.c": bytes(range(256)) * 40 for n in range(50)})
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(SeercError, match="cannot be extracted"):
        extracted(archive, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(SeercError, match=r"a\.rar is no archive"):
        extracted(tmp_path / "a.rar", tmp_path / "a")
