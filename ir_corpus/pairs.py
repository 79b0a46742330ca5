"""One row of the corpus: a source text, the IR that came of it, and where both are from."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

from ir_corpus.sources.package import Package, SourceFile

STAGES = "mlir-stages"
"""The language of `zoo:NAME`: texts of one kernel at several stages, which share one IR."""
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")
_KINDS = bytes(
    ord("0" if chr(code).isdigit() else "a" if chr(code).isalpha() or code == ord("_") else " ") for code in range(128)
) + bytes(128)
_NUMBER_AND_NAME = re.compile(rb" 00*a")  # 0x1f is a number and a name
_UNMARKED = bytes(code for code in range(256) if chr(code).isalnum() or chr(code).isspace() or code == ord("_"))


@dataclass(frozen=True)
class Pair:
    """A file or function pair; hashes are SHA-256 in hex, lines count from 1, `function` is the symbol in the IR."""

    id: str
    kind: str  # file | function
    language: str
    split: str  # train | valid | test
    package: str
    version: str
    archive_sha256: str
    path: str
    file_sha256: str
    licence: str
    tier: str
    compiler: str
    compiler_version: str
    level: str
    flags: str
    function: str
    name: str
    first_line: int
    last_line: int
    tokens: int  # of source and IR: identifiers, numbers and punctuation marks
    source_sha256: str
    ir_sha256: str
    canonical: str  # the IR without names: equal for functions that differ in names alone
    source: str
    ir: str
    bitcode: bytes = b""


def function_key(pair: Pair) -> str:
    """Equal for functions of which one is enough: equal IR but for names, at the same stage of our own compiler."""
    stage = PurePosixPath(pair.path).suffix if pair.language == STAGES else ""
    return pair.canonical + stage


FIELDS = tuple(field.name for field in fields(Pair))


def digest(text: str | bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def token_count(text: str) -> int:
    """Identifiers, numbers and punctuation marks: about what a byte-pair tokenizer trained on IR gives."""
    if not text.isascii():
        return len(_TOKEN.findall(text))
    raw = text.encode()  # the same number, in a few passes over the bytes
    kinds = b" " + raw.translate(_KINDS)
    words = kinds.count(b" a") + kinds.count(b" 0") + len(_NUMBER_AND_NAME.findall(kinds))
    return words + len(raw.translate(None, _UNMARKED))


def identity(package: Package, file: SourceFile, compiler: str, level: str, function: str) -> str:
    """The id of a row: what it is made from, so that a rerun gives the same one."""
    parts = (package.name, package.version, package.sha256, file.path, compiler, level, function)
    return digest("\0".join(parts))[:32]
