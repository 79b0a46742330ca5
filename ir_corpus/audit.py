"""Checks a corpus from its files alone: shards, rows, duplicates, leakage between splits, licences, counts.

Nothing is taken on trust from the manifest but the hashes of the shards: each IR is parsed and verified again, each
hash computed again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from ir_corpus import llvm
from ir_corpus.clean import duplicates
from ir_corpus.clean.canonical import canonical_hash
from ir_corpus.clean.split import FEW_PACKAGES
from ir_corpus.pairs import Pair, digest, function_key
from ir_corpus.sources.archives import sha256
from ir_corpus.sources.licences import tier
from ir_corpus.store import read_manifest, read_shard, shard_folder


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one place: the name of the check, how many rows it concerns, and what was found where."""

    check: str
    rows: int
    detail: str


@dataclass
class _Seen:
    """What the rows so far held, for the checks that compare rows."""

    faults: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    splits: dict[str, str] = field(default_factory=dict[str, str])  # hash of a source, or of a function -> split
    groups: dict[tuple[str, str], set[str]] = field(default_factory=dict[tuple[str, str], set[str]])
    rows: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    functions: set[str] = field(default_factory=set[str])
    ids: set[str] = field(default_factory=set[str])


def audit(folder: Path, progress: Callable[[str], None] = lambda text: None) -> list[Finding]:
    """Every finding, in a fixed order; none for a sound corpus.

    Raises:
        SeercError: the folder is no corpus at all.
    """
    manifest = read_manifest(folder)
    findings, seen = list(_shard_findings(folder, manifest)), _Seen()
    for shard in manifest["shards"]:
        progress(shard["path"])
        try:
            for pair in read_shard(folder / shard["path"]):
                _check_row(pair, shard["path"], manifest, seen)
        except SeercError as error:
            findings.append(Finding("unreadable shard", int(shard["rows"]), str(error)))
    progress("near-duplicates")
    findings += [Finding(check, count, detail) for (check, detail), count in sorted(seen.faults.items())]
    findings += _leaking_groups(seen)
    findings += _near_duplicates(folder, manifest)
    return findings + _miscounted(manifest, seen)


def _shard_findings(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Shards whose bytes are not those of the manifest, that equal another one, or that the manifest does not know."""
    by_hash: dict[str, str] = {}
    for shard in manifest["shards"]:
        path = folder / shard["path"]
        if not path.is_file():
            yield Finding("missing shard", shard["rows"], shard["path"])
            continue
        actual = sha256(path)
        if actual != shard["sha256"]:
            yield Finding("changed shard", shard["rows"], f"{shard['path']} has another sha256 than the manifest says")
        if actual in by_hash:
            yield Finding("equal shards", shard["rows"], f"{shard['path']} is the same file as {by_hash[actual]}")
        by_hash.setdefault(actual, shard["path"])
    known = {shard["path"] for shard in manifest["shards"]}
    for path in sorted((folder / "data").rglob("*.parquet")):
        if path.relative_to(folder).as_posix() not in known:
            yield Finding("unknown shard", 0, f"{path.relative_to(folder).as_posix()} is not in the manifest")


def _check_row(pair: Pair, shard: str, manifest: Mapping[str, Any], seen: _Seen) -> None:
    for check, wrong in _row_faults(pair, shard, manifest):
        if wrong:
            seen.faults[check, shard] += 1
    if pair.id in seen.ids:
        seen.faults["equal ids", shard] += 1
    seen.ids.add(pair.id)
    if pair.kind == "function" and function_key(pair) in seen.functions:
        seen.faults["equal functions", shard] += 1
    for key in (pair.source_sha256, *([pair.canonical] if pair.kind == "function" else [])):
        if seen.splits.setdefault(key, pair.split) != pair.split:
            seen.faults["leakage: equal in two splits", shard] += 1
    if pair.kind == "function":
        seen.functions.add(function_key(pair))
    seen.groups.setdefault((pair.language, pair.package), set()).add(pair.split)
    seen.rows[pair.kind, pair.language] += 1


def _row_faults(pair: Pair, shard: str, manifest: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    yield (
        "row in the shard of another language, kind or split",
        not shard.startswith(f"{shard_folder(pair)}/{pair.split}-"),
    )
    yield "source has another hash", digest(pair.source) != pair.source_sha256
    yield "IR has another hash", digest(pair.ir) != pair.ir_sha256
    yield "file has another hash", pair.kind == "file" and pair.file_sha256 != pair.source_sha256
    yield "no provenance", not (pair.package and pair.path and pair.compiler and pair.compiler_version and pair.level)
    yield "tier does not fit the licence", tier(pair.licence) != pair.tier
    yield "licence not allowed", manifest.get("licence") == "permissive" and tier(pair.licence) != "permissive"
    yield (
        "more tokens than allowed",
        pair.kind == "function" and pair.tokens >= manifest.get("max_tokens", pair.tokens + 1),
    )
    try:
        printed = llvm.checked(pair.ir)
    except llvm.BadIR as error:
        yield f"IR: {error.reason}", True
        return
    yield f"IR is not as LLVM {manifest.get('llvm')} prints it", printed != pair.ir
    yield "canonical hash is wrong", canonical_hash(pair.ir) != pair.canonical
    yield "bitcode is not the IR's", bool(pair.bitcode) and _other_bitcode(pair)


def _other_bitcode(pair: Pair) -> bool:
    """Whether bitcode holds other lines than the text; a round trip reorders declarations and upgrades data layouts."""
    try:
        return _lines(llvm.normalised(pair.bitcode).text) != _lines(pair.ir)
    except llvm.BadIR:
        return True


def _lines(ir: str) -> list[str]:
    lines = re.sub(r" #\d+", "", ir).split("\n")
    return sorted(line for line in lines if line and not line.startswith(("attributes", "target datalayout")))


def _leaking_groups(seen: _Seen) -> list[Finding]:
    """Packages in several splits, where the language has enough packages to split by them."""
    packages = Counter(language for language, _ in seen.groups)
    return [
        Finding("leakage: package in several splits", 0, f"{language}: {package} is in {', '.join(sorted(splits))}")
        for (language, package), splits in sorted(seen.groups.items())
        if packages[language] >= FEW_PACKAGES and len(splits) > 1
    ]


def _near_duplicates(folder: Path, manifest: Mapping[str, Any]) -> list[Finding]:
    """File sources that are near-duplicates of earlier ones; levels of one file count once."""
    done, names = set[str](), list[str]()

    def texts() -> Iterator[tuple[str, str]]:
        for shard in manifest["shards"]:
            if not shard["path"].startswith("data/file/"):
                continue
            try:
                for pair in read_shard(folder / shard["path"]):
                    if pair.file_sha256 not in done:
                        done.add(pair.file_sha256)
                        names.append(shard["path"])
                        yield f"{len(names)}", pair.source
            except SeercError:
                continue  # reported before

    kept = list(duplicates.kept(texts()))
    found = Counter(name for name, keep in zip(names, kept, strict=True) if not keep)
    return [Finding("near-duplicate sources", count, name) for name, count in sorted(found.items())]


def _miscounted(manifest: Mapping[str, Any], seen: _Seen) -> list[Finding]:
    findings = list[Finding]()
    for kind, name in (("file", "pairs"), ("function", "functions")):
        actual = {language: count for (of, language), count in sorted(seen.rows.items()) if of == kind}
        stated = manifest.get(name)
        if actual != stated:
            findings.append(
                Finding(
                    "counts differ from the manifest", sum(actual.values()), f"{name}: {stated} stated, {actual} found"
                )
            )
    return findings
