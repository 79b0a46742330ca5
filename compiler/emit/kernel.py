"""What an emitter returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compiler.emit.winograd_weights import WinogradPacking
from costmodel.region.roles import Packing


@dataclass(frozen=True)
class Kernel:
    """A kernel before lowering to LLVM: `void name(inputs..., results..., scratch)` on bare pointers.

    `packing` says how the caller lays out a weight ahead of time; `scratch_bytes` how much memory `scratch` points to.
    """

    name: str
    module: Any
    packing: Packing | WinogradPacking | None = None
    scratch_bytes: int = 0
