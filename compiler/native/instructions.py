"""x86 instructions as the metrics see them: which vector registers are read and written, loads and stores, branches."""

from __future__ import annotations

import re
from dataclasses import dataclass

import capstone

_VECTOR = re.compile(r"\b([xyz])mm(\d+)\b")
_WIDTH = {"x": 16, "y": 32, "z": 64}
_FMA = re.compile(r"^vfn?m(add|sub)")
_ARITHMETIC = re.compile(
    r"^v?(fn?m(add|sub)\w*|add|sub|mul|div|sqrt|max|min|rsqrt\w*|rcp\w*|hadd|addsub)[0-9]*(p|s)(s|d)$"
)
_ACCUMULATES = re.compile(r"^v(fn?m|fmaddsub|fmsubadd|pternlog|permi2|permt2|pdp|dpbf16|pmadd52|pinsr|fixupimm)")
_STORES_ONLY = re.compile(r"^v?(mov\w*|extract\w*|pextr\w*|compress\w*|cvtps2ph|pmov\w*|pscatter\w*|scatter\w*)$")
_STACK_SLOT = re.compile(r"\[rsp( [+-] (?:0x)?[0-9a-f]+)?\]")


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction; `reads` and `writes` are bit masks of vector registers."""

    address: int
    size: int
    mnemonic: str
    operands: str
    reads: int = 0
    writes: int = 0
    bits: int = 0
    """The width in bytes of the widest vector register."""

    @property
    def is_branch(self) -> bool:
        return self.mnemonic.startswith("j")

    @property
    def target(self) -> int | None:
        """Where a direct branch goes."""
        return int(self.operands, 16) if self.is_branch and self.operands.startswith("0x") else None

    @property
    def is_fma(self) -> bool:
        return _FMA.match(self.mnemonic) is not None

    @property
    def flops(self) -> int:
        """Floating-point operations: lanes, twice for a fused multiply-add, 0 if it is no arithmetic."""
        match = _ARITHMETIC.match(self.mnemonic)
        if not match:
            return 0
        lanes = 1 if match.group(3) == "s" else self.bits // (4 if match.group(4) == "s" else 8)
        return lanes * (2 if self.is_fma else 1)

    @property
    def is_packed(self) -> bool:
        return self.mnemonic.endswith(("ps", "pd"))

    @property
    def stack_slot(self) -> str | None:
        """The slot `[rsp + constant]` that a vector instruction reads or writes."""
        found = _STACK_SLOT.search(self.operands) if self.reads | self.writes else None
        return found.group(0) if found else None

    @property
    def stores(self) -> bool:
        """Whether the memory operand is the destination."""
        return "[" in self.operands.split(",", 1)[0]


def decode(code: bytes, address: int = 0) -> list[Instruction]:
    """The instructions of one function that lies at `address`; bytes that are none become `.byte`."""
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    return [_instruction(*found) for found in engine.disasm_lite(code, address)]


def _instruction(address: int, size: int, mnemonic: str, operands: str) -> Instruction:
    found = _VECTOR.findall(operands)
    if not found:
        return Instruction(address, size, mnemonic, operands)
    first, _, rest = operands.partition(",")
    destination = _VECTOR.search(first) if "[" not in first else None
    reads = _mask(rest)
    writes = 0
    if destination is None:
        reads |= _mask(first)
    elif mnemonic.startswith(("vcomis", "vucomis", "comis", "ucomis", "ptest", "vptest", "vtestp")):
        reads |= _mask(first)
    else:
        writes = 1 << int(destination.group(2))
        merges = "{k" in first and "{z}" not in first
        two_operands = mnemonic[0] != "v" and not mnemonic.startswith(("mov", "sqrt", "cvt", "pshuf", "pabs"))
        if merges or two_operands or _ACCUMULATES.match(mnemonic):
            reads |= writes
        elif "xor" in mnemonic and len({number for _, number in found}) == 1:
            reads = 0
    return Instruction(address, size, mnemonic, operands, reads, writes, max(_WIDTH[kind] for kind, _ in found))


def _mask(operands: str) -> int:
    mask = 0
    for _, number in _VECTOR.findall(operands):
        mask |= 1 << int(number)
    return mask
