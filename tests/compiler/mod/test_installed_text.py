"""The corpus of what is installed."""

from __future__ import annotations

from pathlib import Path

from compiler.mod.installed_text import installed_text, is_held_out

PROSE = "A line of text that someone may have written by hand.\n" * 8


def test_filters_deduplicates_and_holds_out_whole_packages(tmp_path: Path) -> None:
    names = [f"package{i}" for i in range(60)]
    for name in names:
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "module.py").write_text(f"# {name}\n{PROSE}")
        (tmp_path / name / "copy.py").write_text(PROSE)  # the same in every package
        (tmp_path / name / "tests" / "test_it.py").write_text(f"# test {name}\n{PROSE}")
        (tmp_path / name / "table.txt").write_text(f"{name} 0123456789 " * 50)
        (tmp_path / name / "short.md").write_text("short")
        (tmp_path / name / "binary.py").write_bytes(b"\xff\xfe" * 300)
    corpus = installed_text(roots=(tmp_path,))
    held_out = [n for n in names if is_held_out(n)]
    assert 0 < len(held_out) < 30
    assert corpus.held_out_packages == tuple(sorted(held_out))
    assert sum(t == PROSE for t in corpus.train + corpus.held_out) == 1
    assert {t.split("\n")[0][2:] for t in corpus.held_out if t != PROSE} == set(held_out)
    assert {t.split("\n")[0][2:] for t in corpus.train if t != PROSE} == set(names) - set(held_out)


def test_a_large_package_does_not_rule(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    for index in range(20):
        (tmp_path / "large" / f"m{index}.py").write_text(f"# {index}\n{PROSE}")
    corpus = installed_text(limit=2000, roots=(tmp_path,))
    assert 0 < sum(map(len, corpus.train + corpus.held_out)) <= 2000


def test_metadata_folders_stay_with_their_package() -> None:
    assert is_held_out("sortedcontainers") == is_held_out("sortedcontainers-2.4.0")
