"""`seerc_run`: the function that calls a program's kernels in order, written as text of the LLVM dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.native.link import EXPORTED

BASES = ("weights", "inputs", "outputs", "workspace", "null")


@dataclass(frozen=True)
class Pointer:
    """A kernel's argument: `offset` + `step_stride` * (step of the innermost loop) bytes from a base.

    `base` is one of BASES; `index` chooses the tensor of `inputs` and `outputs`.
    """

    base: str
    index: int = 0
    offset: int = 0
    step_stride: int = 0

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"pointer base {self.base!r} is not one of {', '.join(BASES)}")


@dataclass(frozen=True)
class Call:
    """`void symbol(ptr, ...)`."""

    symbol: str
    args: tuple[Pointer, ...]


@dataclass(frozen=True)
class Loop:
    """The body, `count` times, one after the other."""

    count: int
    body: tuple[Step, ...]


@dataclass(frozen=True)
class Branch:
    """`then` where the byte at `condition` is not 0, else `otherwise`."""

    condition: Pointer
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


Step = Call | Loop | Branch


def emit_main(steps: Sequence[Step], inputs: int, outputs: int, name: str = EXPORTED) -> str:
    """An MLIR module that defines `int32_t NAME(weights, inputs, outputs, workspace)`, which runs `steps`."""
    return _Writer(name, inputs, outputs).module(steps)


class _Writer:
    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        self.name = name
        self.tensors = {"inputs": inputs, "outputs": outputs}
        self.lines: list[str] = []
        self.count = 0
        self.constants: dict[int, str] = {}
        self.symbols: dict[str, int] = {}

    def module(self, steps: Sequence[Step]) -> str:
        for step in steps:
            self._step(step, None)
        entry = [f"  {text} = llvm.mlir.constant({value} : i64) : i64" for value, text in self.constants.items()]
        for base, number in self.tensors.items():
            for index in range(number):
                entry += [
                    f"  %{base}_at{index} = llvm.getelementptr %{base}[{index}] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr",
                    f"  %{base}{index} = llvm.load %{base}_at{index} : !llvm.ptr -> !llvm.ptr",
                ]
        declared = [
            f"llvm.func @{symbol}({', '.join(['!llvm.ptr'] * number)})" for symbol, number in self.symbols.items()
        ]
        arguments = ", ".join(f"%{base}: !llvm.ptr" for base in ("weights", "inputs", "outputs", "workspace"))
        return "\n".join(
            [
                *declared,
                f"llvm.func @{self.name}({arguments}) -> i32 {{",
                "  %zero = llvm.mlir.constant(0 : i32) : i32",
                "  %zero8 = llvm.mlir.constant(0 : i8) : i8",
                "  %null = llvm.mlir.zero : !llvm.ptr",
                *entry,
                *self.lines,
                "  llvm.return %zero : i32",
                "}",
                "",
            ]
        )

    def _step(self, step: Step, index: str | None) -> None:
        if isinstance(step, Loop):
            return self._loop(step)
        if isinstance(step, Branch):
            return self._branch(step, index)
        known = self.symbols.setdefault(step.symbol, len(step.args))
        if known != len(step.args):
            raise ValueError(f"kernel {step.symbol} is called with {known} and with {len(step.args)} arguments")
        values = [self._pointer(arg, index) for arg in step.args]
        types = ", ".join(["!llvm.ptr"] * len(values))
        self.lines.append(f"  llvm.call @{step.symbol}({', '.join(values)}) : ({types}) -> ()")
        return None

    def _branch(self, branch: Branch, index: str | None) -> None:
        number = self._fresh()
        then, otherwise, done = (f"^{part}{number}" for part in ("then", "else", "join"))
        self.lines += [
            f"  %byte{number} = llvm.load {self._pointer(branch.condition, index)} : !llvm.ptr -> i8",
            f'  %taken{number} = llvm.icmp "ne" %byte{number}, %zero8 : i8',
            f"  llvm.cond_br %taken{number}, {then}, {otherwise}",
        ]
        for label, side in ((then, branch.then), (otherwise, branch.otherwise)):
            self.lines.append(f"{label}:")
            for step in side:
                self._step(step, index)
            self.lines.append(f"  llvm.br {done}")
        self.lines.append(f"{done}:")

    def _loop(self, loop: Loop) -> None:
        number = self._fresh()
        index = f"%i{number}"
        head, body, done = (f"^{part}{number}" for part in ("head", "body", "done"))
        self.lines += [
            f"  llvm.br {head}({self._constant(0)} : i64)",
            f"{head}({index}: i64):",
            f'  %more{number} = llvm.icmp "slt" {index}, {self._constant(loop.count)} : i64',
            f"  llvm.cond_br %more{number}, {body}, {done}",
            f"{body}:",
        ]
        for step in loop.body:
            self._step(step, index)
        self.lines += [
            f"  %next{number} = llvm.add {index}, {self._constant(1)} : i64",
            f"  llvm.br {head}(%next{number} : i64)",
            f"{done}:",
        ]

    def _pointer(self, pointer: Pointer, index: str | None) -> str:
        base = f"%{pointer.base}"
        if pointer.base in self.tensors:
            if not 0 <= pointer.index < self.tensors[pointer.base]:
                raise ValueError(f"{pointer.base} have no number {pointer.index}")
            base += str(pointer.index)
        if pointer.offset:
            base = self._moved(base, self._constant(pointer.offset))
        if pointer.step_stride:
            if index is None:
                raise ValueError(f"a step stride outside of a loop: {pointer}")
            step = f"%v{self._fresh()}"
            self.lines.append(f"  {step} = llvm.mul {index}, {self._constant(pointer.step_stride)} : i64")
            base = self._moved(base, step)
        return base

    def _moved(self, base: str, offset: str) -> str:
        result = f"%v{self._fresh()}"
        self.lines.append(f"  {result} = llvm.getelementptr {base}[{offset}] : (!llvm.ptr, i64) -> !llvm.ptr, i8")
        return result

    def _constant(self, value: int) -> str:
        self.constants[value] = name = f"%c{value}".replace("-", "m")
        return name

    def _fresh(self) -> int:
        self.count += 1
        return self.count
