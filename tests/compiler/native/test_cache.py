"""The disk cache: damage, limits, folders that cannot be written."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.cache import Cache, cache_folder, cache_key


def test_put_get_and_miss(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache")
    key = cache_key("kernel", "text")
    assert store.get(key) is None
    store.put(key, b"object")
    assert store.get(key) == Cache(tmp_path / "cache").get(key) == b"object"


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100])
def test_a_damaged_entry_is_a_miss_and_goes(tmp_path: Path, damage: bytes) -> None:
    store = Cache(tmp_path)
    key = cache_key("kernel")
    store.put(key, b"object" * 100)
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    path.write_bytes(damage)
    assert store.get(key) is None
    assert not path.exists()


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit_bytes=10_000)
    keys = [cache_key(str(i)) for i in range(9)]
    for age, key in enumerate(keys):
        store.put(key, bytes(1000))
        os.utime(store._path(key), (age, age))
    assert store.get(keys[0]) is not None  # used now
    store.put(cache_key("last"), bytes(1000))
    assert store.get(keys[0]) is not None
    assert store.get(keys[1]) is None
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 10_000


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Cache(tmp_path / "file")
    with pytest.warns(UserWarning, match="cannot be written"):
        store.put(cache_key("a"), b"1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(cache_key("b"), b"2")
        assert store.get(cache_key("b")) is None


def test_a_full_disk_warns_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("costmodel.files.os.fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        Cache(tmp_path).put(cache_key("a"), b"1")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEERC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "seerc"
    monkeypatch.setenv("SEERC_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_keys_tell_parts_apart(one: list[str], other: list[str]) -> None:
    assert (cache_key(*one) == cache_key(*other)) is (one == other)
