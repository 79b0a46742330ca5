"""A dataset that is not seerc's in origin: the affine loops of upstream MLIR's own tests, and what LLVM makes of them.

    apt-get source --download-only llvm-toolchain-19      # or any llvm-project checkout or release
    tar xf llvm-toolchain-19_*.orig.tar.xz --wildcards '*/mlir/test/Dialect/Affine/*.mlir'
    python tools/affine_dataset.py llvm-*/mlir/test/Dialect/Affine -o costmodel/data/affine.parquet

Every function of the tests that parses alone is taken as it is and after upstream passes, compiled for one fixed
processor, and measured on its object code. Nothing is run, so nothing can go out of bounds, and the numbers are the
same on every machine; `instructions` are counted along the code, and null where arguments decide them. The texts are
under the Apache License v2.0 with LLVM Exceptions; each row names its file, function, passes and licence.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from compiler.children import compile_pool, outcome
from compiler.native.disassemble import measure_code
from compiler.native.lower import compile_object
from costmodel.errors import SeercError
from costmodel.files import write_atomically
from costmodel.text import canonical, canonical_functions, hash_text
from passes.mlir import PassManager, context, ir

LICENCE = "Apache-2.0 WITH LLVM-exception"
CPU, VECTOR_BYTES = "haswell", 32
"""The processor of LLVM's that all code is for: every x86-64 machine of the last ten years."""
SECONDS = 60.0
MOST_CHARACTERS = 60_000
LEAST_BYTES = 16
"""Less code computes nothing: many of the tests have no result that is used."""
METRICS = ("code_bytes", "registers", "spills", "loop_instructions", "instructions")
_CLEAN = ("affine-simplify-structures,canonicalize,cse", "affine-loop-normalize", "affine-scalrep")
_LOOPS = (
    *(f"affine-loop-unroll{{unroll-factor={n}}}" for n in (2, 4, 8)),
    *(f"affine-loop-tile{{tile-size={n}}}" for n in (4, 16, 32)),
    *(f"affine-loop-unroll-jam{{unroll-jam-factor={n}}}" for n in (2, 4)),
    *(f"affine-super-vectorize{{virtual-vector-size={n}}}" for n in (4, 8)),
    "affine-loop-fusion",
    "affine-loop-invariant-code-motion",
    "affine-loop-coalescing",
    "affine-data-copy-generate",
)
_PAIRS = (
    ("affine-loop-fusion", "affine-scalrep"),
    ("affine-loop-fusion", "affine-loop-unroll{unroll-factor=4}"),
    ("affine-loop-fusion", "affine-super-vectorize{virtual-vector-size=8}"),
    ("affine-loop-tile{tile-size=8}", "affine-loop-unroll{unroll-factor=4}"),
    ("affine-loop-tile{tile-size=16}", "affine-super-vectorize{virtual-vector-size=8}"),
    ("affine-loop-unroll-jam{unroll-jam-factor=4}", "affine-scalrep"),
    ("affine-loop-invariant-code-motion", "affine-loop-unroll{unroll-factor=8}"),
    ("affine-loop-coalescing", "affine-loop-unroll{unroll-factor=4}"),
)
PIPELINES = (*_CLEAN, *_LOOPS, *(",".join(pair) for pair in _PAIRS))


@dataclass(frozen=True)
class Origin:
    """Where a text comes from; `function` counts up where a file has several of one name."""

    file: str
    function: str
    passes: str = ""


def sources(folder: Path) -> Iterator[tuple[Origin, str]]:
    """Every function of the tests in `folder` that is a valid module alone; chunks that test for errors are skipped."""
    seen: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.rglob("*.mlir")):
        name = path.relative_to(folder).as_posix()
        for chunk in re.split(r"^// -----.*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            for function, text in _alone(chunk):
                seen[name, function] += 1
                count = seen[name, function]
                yield Origin(name, function if count == 1 else f"{function}#{count}"), text


def _alone(chunk: str) -> list[tuple[str, str]]:
    """(name, text) of the functions with a body that need nothing else of their module."""
    found: list[tuple[str, str]] = []
    with context():
        try:
            module = ir.Module.parse(chunk)
        except ir.MLIRError:
            return []
        for op in module.body.operations:
            if op.operation.name == "func.func" and op.operation.regions[0].blocks:
                text = op.operation.get_asm(use_local_scope=True)
                try:
                    ir.Module.parse(text).operation.verify()
                except ir.MLIRError:
                    continue
                found.append((ir.StringAttr(op.operation.attributes["sym_name"]).value, text))
    return found


def transform(text: str, passes: str) -> str:
    """The canonical text of a function after upstream passes; SeercError if they fail."""
    with context():
        try:
            module = ir.Module.parse(text)
            if passes:
                PassManager.parse(f"builtin.module(func.func({passes}))").run(module.operation)
        except ir.MLIRError as error:
            raise SeercError(f"{passes or 'parsing'} failed") from error
        made = canonical_functions(str(module))[0][1]
    if len(made) > MOST_CHARACTERS:
        raise SeercError(f"longer than {MOST_CHARACTERS} characters")
    return made


def label(text: str) -> dict[str, Any]:
    """Metrics of the object code; SeercError if LLVM refuses the function, or finds that it does nothing."""
    with context():
        try:
            module = ir.Module.parse(text)
        except ir.MLIRError as error:
            raise SeercError("the canonical text is not valid MLIR") from error
        if canonical(str(module)) != text:
            raise SeercError("MLIR prints another text than the canonical one")
        data = compile_object(module, "workload", openmp=False, cpu=CPU)
    metrics = asdict(measure_code(data, VECTOR_BYTES, "workload"))
    if metrics["code_bytes"] < LEAST_BYTES:
        raise SeercError("LLVM finds nothing that has to be computed")
    return {name: metrics[name] for name in METRICS}


def run_all(tasks: list[tuple[Any, tuple[Any, ...]]], work: Callable[..., Any]) -> Iterator[tuple[Any, Any]]:
    """(key, result or the SeercError that says why there is none) of `work` on each task, in a child process."""
    with compile_pool(1) as pool:
        left = iter(tasks)
        running: dict[Future[Any], Any] = {}
        while True:
            for key, arguments in itertools.islice(left, 8 - len(running)):
                running[pool.schedule(work, args=list(arguments), timeout=SECONDS)] = key
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), outcome(future, work.__name__, SECONDS)


def build(folder: Path) -> list[dict[str, Any]]:
    """Rows in order of origin; equal texts are kept once. Functions without code of their own get no variants."""
    functions = dict(sources(folder))
    plain = dict(run_all([(o, (text, "")) for o, text in functions.items()], transform))
    found = _labelled([(o, plain[o]) for o in functions])
    compiled = [o for o in functions if not isinstance(found.get(plain[o], (o, None))[1], SeercError | None)]
    print(f"{len(functions)} functions, {len(compiled)} compile alone", file=sys.stderr)
    tasks = [(replace(o, passes=p), (functions[o], p)) for o in compiled for p in PIPELINES]
    made = dict(run_all(tasks, transform))
    found |= _labelled([(o, made[o]) for o, _ in tasks if made[o] not in found])
    failures = Counter(str(m)[:60] for _, m in found.values() if isinstance(m, SeercError))
    for reason, count in failures.most_common(20):
        print(f"{count:5} {reason}", file=sys.stderr)
    rows = [(o, t, m) for t, (o, m) in found.items() if not isinstance(m, SeercError)]
    rows.sort(key=lambda row: (row[0].file, row[0].function, row[0].passes))
    return [{"text": t, **m, **asdict(o), "licence": LICENCE, "text_hash": hash_text(t)} for o, t, m in rows]


def counted(text: str) -> bool:
    """Whether the number of executed instructions follows from the text: no argument may decide it."""
    arguments: list[str] = re.findall(r"%\d+: ([^%]*)", text.partition("{\n")[0])
    return not any("?" in argument or re.match(r"index|i\d", argument) for argument in arguments)


def _labelled(texts: list[tuple[Origin, str | SeercError]]) -> dict[str, tuple[Origin, dict[str, Any] | SeercError]]:
    """Text to its first origin and its metrics."""
    first: dict[str, Origin] = {}
    for origin, text in texts:
        if isinstance(text, str):
            first.setdefault(text, origin)
    print(f"{len(first)} distinct texts", file=sys.stderr)
    found: dict[str, tuple[Origin, dict[str, Any] | SeercError]] = {}
    labels = dict(run_all([(text, (text,)) for text in first], label))
    for text, origin in first.items():
        metrics = labels[text]
        if not isinstance(metrics, SeercError) and not counted(text):
            metrics["instructions"] = None
        found[text] = (origin, metrics)
    return found


def main() -> None:
    """Build the Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="mlir/test/Dialect/Affine of an LLVM source tree")
    parser.add_argument("-o", dest="output", type=Path, required=True, help="the Parquet file to write")
    parser.add_argument("--origin", default="llvm-project 19.1.7", help="what the source tree is")
    parser.add_argument(
        "--per-function", type=int, default=10, metavar="N", help="pipelines of one function (default: 10)"
    )
    args = parser.parse_args()
    rows = build(args.folder)
    origin = {"origin": args.origin, "folder": "mlir/test/Dialect/Affine", "licence": LICENCE, "cpu": CPU}
    table = pa.Table.from_pylist(rows).replace_schema_metadata(origin)
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    write_atomically(args.output, sink.getvalue())
    print(f"{len(rows)} rows, {len(sink.getvalue())} bytes", file=sys.stderr)


if __name__ == "__main__":
    from affine_dataset import main as imported  # child processes look their functions up by module

    imported()
