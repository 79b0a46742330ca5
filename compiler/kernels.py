"""Compiles candidates to objects: in child processes with limits of time and memory, through the cache.

A crash or endless loop inside MLIR or LLVM loses one candidate; the others and the caller go on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compiler.cache import Cache, cache_key
from compiler.children import compile_pool as compile_pool
from compiler.children import outcome
from compiler.emit.winograd_weights import WinogradPacking
from compiler.target import host_features
from costmodel.errors import SeercError
from costmodel.region.roles import Packing

VERSION = "5"
"""Counts up when the same candidate text compiles to other code."""
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Compiled:
    """The object file of a kernel and how it is called: its packed weight and its scratch memory."""

    object: bytes
    packing: Packing | WinogradPacking | None
    scratch_bytes: int

    def to_bytes(self) -> bytes:
        """A JSON line, then the object."""
        packing = None if self.packing is None else {"kind": type(self.packing).__name__, **asdict(self.packing)}
        head = json.dumps({"packing": packing, "scratch_bytes": self.scratch_bytes})
        return head.encode() + b"\n" + self.object

    @staticmethod
    def from_bytes(content: bytes) -> Compiled:
        head, _, body = content.partition(b"\n")
        fields = json.loads(head)
        packing = fields["packing"]
        if packing is not None:
            kind = {"Packing": Packing, "WinogradPacking": WinogradPacking}[packing.pop("kind")]
            packing = kind(**{k: _tuples(v) for k, v in packing.items()})
        return Compiled(body, packing, fields["scratch_bytes"])


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def candidate_key(candidate: str) -> str:
    """The cache key of a candidate on this machine."""
    from importlib.metadata import version

    return cache_key("kernel", VERSION, version("torch-mlir"), " ".join(host_features()), candidate)


def compile_candidate(name: str, candidate: str, cpu: str | None = None) -> bytes:
    """`Compiled.to_bytes` of one candidate, in this process; SeercError if it cannot be compiled.

    `cpu` is as in compiler.native.lower.compile_object.
    """
    from compiler.emit.candidate import emit_candidate
    from compiler.native.lower import compile_object

    kernel = emit_candidate(candidate)
    made = Compiled(compile_object(kernel.module, name, cpu=cpu), kernel.packing, kernel.scratch_bytes)
    return made.to_bytes()


def compile_all(candidates: Sequence[tuple[str, str]], cache: Cache | None, jobs: int) -> list[Compiled | SeercError]:
    """Compiles (name, candidate text) pairs; a failure stands in the place of its result."""
    keys = [candidate_key(text) for _, text in candidates]
    found: list[Compiled | SeercError | None] = [_lookup(cache, key) for key in keys]
    missing = [i for i, made in enumerate(found) if made is None]
    if missing:
        with compile_pool(min(jobs, len(missing))) as pool:
            futures = [pool.schedule(compile_candidate, args=candidates[i], timeout=TIMEOUT_S) for i in missing]
            for i, future in zip(missing, futures, strict=True):
                found[i] = _result(future, candidates[i][0])
    for i in missing:
        made = found[i]
        if cache is not None and isinstance(made, Compiled):
            cache.put(keys[i], made.to_bytes())
    return [made for made in found if made is not None]


def _lookup(cache: Cache | None, key: str) -> Compiled | None:
    content = cache.get(key) if cache is not None else None
    try:
        return Compiled.from_bytes(content) if content is not None else None
    except (ValueError, KeyError, TypeError):  # another seerc wrote it: compile again and replace it
        return None


def _result(future: Any, name: str) -> Compiled | SeercError:
    made = outcome(future, f"kernel {name}", TIMEOUT_S)
    return made if isinstance(made, SeercError) else Compiled.from_bytes(made)
