"""`seerc compile --bucket`: one program a bucket of input shapes."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from costmodel.errors import SeercError
from seerc.cli.output import progress, report

if TYPE_CHECKING:
    from compiler.frontend.model import LoadedModel

_SHAPE = re.compile(r"([\w.]+)=(\d+(?:x\d+)*)")
_PADDING = re.compile(r"([\w.]+)=(none|-?inf|-?\d+(?:\.\d*)?)")


def parse_buckets(texts: Sequence[str]) -> dict[str, list[tuple[int, ...]]]:
    """Shapes by input of texts like `ids=1x32,mask=1x32`, one a bucket; SeercError for other texts."""
    buckets = [dict(_match(_SHAPE, part, "ids=1x32,mask=1x32") for part in text.split(",")) for text in texts]
    for bucket, text in zip(buckets, texts, strict=True):
        if bucket.keys() != buckets[0].keys():
            raise SeercError(f"--bucket {text}: every bucket names the same inputs, the first {', '.join(buckets[0])}")
    return {name: [tuple(map(int, bucket[name].split("x"))) for bucket in buckets] for name in buckets[0]}


def parse_padding(texts: Sequence[str]) -> dict[str, float | None]:
    """Values by input of texts like `ids=3` or `ids=none`; SeercError for other texts."""
    found = dict(_match(_PADDING, text, "ids=3") for text in texts)
    return {name: None if value == "none" else float(value) for name, value in found.items()}


def _match(pattern: re.Pattern[str], text: str, example: str) -> tuple[str, str]:
    found = pattern.fullmatch(text.strip())
    if found is None:
        raise SeercError(f"{text!r} is not like {example}")
    return found[1], found[2]


def compile_in_buckets(args: argparse.Namespace, model: LoadedModel) -> int:
    """Compiles, saves and reports; `model` is imported at any shape."""
    from compiler.buckets import compile_buckets, load_buckets
    from compiler.driver import CompileOptions

    buckets = parse_buckets(args.bucket)
    options = CompileOptions(cost_model=args.cost_model, cache=not args.no_cache, jobs=args.jobs, tune=args.tune)
    begin = time.perf_counter()
    with progress(f"compiling {len(args.bucket)} buckets of {model.imported.name}"):
        models = load_buckets(model, args.model, buckets)
        program = compile_buckets(models, buckets, parse_padding(args.pad or ()), options)
    program.save(args.output)
    seconds = time.perf_counter() - begin
    shapes = [{spec.name: list(spec.shape) for spec in one.inputs} for one in program.programs]
    data = {
        "model": model.imported.name,
        "program": str(args.output),
        "buckets": shapes,
        "compile_s": round(seconds, 3),
        "fallbacks": sum(one.plan["fallbacks"] for one in program.programs),
    }
    lines = [", ".join(f"{name} {shape}" for name, shape in one.items()) for one in shapes]
    report(args, data, *lines, f"{len(lines)} buckets compiled in {seconds:.1f} s, saved to {args.output}")
    return 0
