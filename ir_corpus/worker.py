"""What a worker process does with one file: compile at each level, cut into functions, filter, pack."""

from __future__ import annotations

import base64
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from ir_corpus import llvm
from ir_corpus.clean.canonical import canonical_hash
from ir_corpus.clean.filters import file_refused, function_refused
from ir_corpus.compiling import compile_file
from ir_corpus.functions import FunctionText, function_pairs
from ir_corpus.journal import packed
from ir_corpus.pairs import digest, identity, token_count
from ir_corpus.planning import Task
from ir_corpus.sandbox import Limits
from ir_corpus.sources.licences import header_licence, tier

MAX_TASKS = 200
"""After so many files a worker is replaced: LLVM keeps some memory of each."""


def process(task: Task, limits: Limits) -> bytes:
    """The packed result of a file: `{"reasons", "seconds", "own_seconds", "rows", "message"}`.

    `seconds` are the compilers' of CPU time, `own_seconds` this process's; rows lack split and package.
    """
    start = time.process_time()
    source = (task.package.root / task.file.path).read_bytes().decode("utf-8")
    file = task.file
    done = compile_file(task.frontend, task.package.root, file.path, task.level, file.flags, limits, file.unit)
    if done.module is None:
        return failed(done.reason, done.message[-500:], done.seconds, time.process_time() - start)
    reasons, rows, ir = Counter({"compiled": 1}), list[dict[str, Any]](), done.module.text
    reason = file_refused(ir)
    if reason:
        reasons[reason] += 1
    else:
        rows.append(_file_row(task, source, done.module))
    rows += _function_rows(task, done.module, reasons)
    seconds = {"seconds": round(done.seconds, 3), "own_seconds": round(time.process_time() - start, 3)}
    return packed({"reasons": dict(reasons), **seconds, "rows": rows, "message": ""})


def failed(reason: str, message: str = "", seconds: float = 0.0, own_seconds: float = 0.0) -> bytes:
    """The packed result of a file that gave no IR, or whose worker died."""
    counted = {f"compile: {reason}": 1}
    spent = {"seconds": round(seconds, 3), "own_seconds": round(own_seconds, 3)}
    return packed({"reasons": counted, **spent, "rows": [], "message": message})


def _file_row(task: Task, source: str, module: llvm.Module) -> dict[str, Any]:
    lines = source.count("\n") + (not source.endswith("\n"))
    row = _row(task, "", "", 1, lines, source, module.text, token_count(source) + token_count(module.text))
    return {**row, "kind": "file", "path": task.file.path, "bitcode": base64.b64encode(module.bitcode).decode()}


def _function_rows(task: Task, module: llvm.Module, reasons: Counter[str]) -> list[dict[str, Any]]:
    rows, root = list[dict[str, Any]](), task.package.root
    names = task.frontend.names
    for function in function_pairs(module, root, task.file.path, task.file.language, names, reasons):
        tokens = token_count(function.source) + token_count(function.ir)
        reason = function_refused(function.ir, tokens)
        stated = (
            task.file.licence if function.file == task.file.path else _licence(root / function.file, task.file.licence)
        )
        if not reason and task.licence == "permissive" and tier(stated) != "permissive":
            reason = "function: licence"
        if reason:
            reasons[reason] += 1
            continue
        reasons["function pairs"] += 1
        rows.append(_function_row(task, function, stated, tokens))
    return rows


def _function_row(task: Task, function: FunctionText, stated: str, tokens: int) -> dict[str, Any]:
    place = (function.symbol, function.name, function.first, function.last)
    row = _row(task, *place, function.source, function.ir, tokens)
    return {**row, "kind": "function", "path": function.file, "licence": stated, "tier": tier(stated), "bitcode": ""}


def _row(
    task: Task, symbol: str, name: str, first: int, last: int, source: str, ir: str, tokens: int
) -> dict[str, Any]:
    return {
        "id": identity(task.package, task.file, task.frontend.name, task.level, symbol),
        "licence": task.file.licence,
        "tier": task.file.tier,
        "level": task.level,
        "function": symbol,
        "name": name,
        "first_line": first,
        "last_line": last,
        "tokens": tokens,
        "source_sha256": digest(source),
        "ir_sha256": digest(ir),
        "canonical": canonical_hash(ir),
        "source": source,
        "ir": ir,
    }


@lru_cache(maxsize=4096)
def _licence(header: Path, otherwise: str) -> str:
    """The licence that a header states, else that of the file that includes it."""
    text = header.read_bytes()[:8_000].decode("utf-8", errors="replace") if header.is_file() else ""
    return header_licence(text) or otherwise
