"""Runs a pipeline over MLIR text as mlir-opt does: flags, diagnostics with file and line, a reproducer on failure."""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.errors import SeercError
from costmodel.files import write_atomically
from passes.base import PassContext
from passes.pipeline import Pipeline

if TYPE_CHECKING:
    from passes.mlir import ir

SEPARATOR = "// -----"


@dataclass(frozen=True)
class RunOptions:
    """How a pipeline runs; the fields follow mlir-opt's flags.

    Attributes:
        print_ir_after_all: print the IR after each pass, on stderr.
        verify_each: verify the IR after each pass.
        split_input_file: take the pieces between `// -----` lines as modules of their own.
        timing: print a report of the time in each pass, on stderr.
        allow_unregistered_dialect: accept operations of unknown dialects.
        reproducers: where the file that reproduces a failure goes; None for the system's temporary folder.
        command: the words of the reproducing command before the pipeline and the file.
    """

    print_ir_after_all: bool = False
    verify_each: bool = True
    split_input_file: bool = False
    timing: bool = False
    allow_unregistered_dialect: bool = False
    reproducers: Path | None = None
    command: tuple[str, ...] = ("seerc", "opt")


def run_text(
    pipeline: Pipeline,
    text: str,
    source: str = "<input>",
    options: RunOptions | None = None,
    context: PassContext | None = None,
) -> str:
    """Parse MLIR text, run the pipeline, print the result.

    Args:
        text: one module, or several with `split_input_file`.
        source: the file name in diagnostics.

    Raises:
        SeercError: text that does not parse, or a pass that fails: one line with the place, and how to reproduce it.
    """
    options = options or RunOptions()
    pieces = _split(text) if options.split_input_file else [text]
    results = [_run_piece(pipeline, piece, source, options, context or PassContext()) for piece in pieces]
    return f"\n{SEPARATOR}\n".join(results)


def _run_piece(pipeline: Pipeline, text: str, source: str, options: RunOptions, context: PassContext) -> str:
    from passes.mlir import context as mlir_context
    from passes.mlir import ir

    with mlir_context() as mlir:
        mlir.allow_unregistered_dialects = options.allow_unregistered_dialect
        try:
            module = ir.Module.parse(text)
        except ir.MLIRError as error:
            raise SeercError(diagnostics(str(error), source)) from error
        run_on(pipeline, module.operation, options, context, source)
        return str(module).rstrip()


def run_on(
    pipeline: Pipeline,
    module: ir.Operation,
    options: RunOptions | None = None,
    context: PassContext | None = None,
    source: str = "-",
) -> None:
    """Run the pipeline on a `builtin.module` operation, in place.

    Raises:
        SeercError: a pass failed; the message carries MLIR's diagnostic and the reproducing command.
    """
    from passes.mlir import ir

    options = options or RunOptions()
    with module.context as mlir:
        manager = pipeline.build(context)
        manager.enable_verifier(options.verify_each)
        if options.timing:
            manager.enable_timing()
        if options.print_ir_after_all:
            mlir.enable_multithreading(False)  # MLIR prints only from one thread
            manager.enable_ir_printing()
        before = module.get_asm(enable_debug_info=False)
        try:
            manager.run(module)
        except (SeercError, ir.MLIRError) as error:
            notes = getattr(error, "__notes__", [])
            what = diagnostics("\n".join([str(error), *notes]), source)
            raise SeercError(f"{what}; reproduce with: {_reproducer(pipeline, before, options)}") from error
        except Exception as error:  # a bug in a pass: its author wants the traceback
            error.add_note(f"reproduce with: {_reproducer(pipeline, before, options)}")
            raise


def diagnostics(message: str, source: str = "-") -> str:
    """MLIR's message in one line, places as `file:line:column`; `source` stands for `-`, parsed text without a name."""
    message = message.replace('"-"', f'"{source}"')
    message = re.sub(r'(?:loc\()?"([^"]*)":(\d+):(\d+)\)?', r"\1:\2:\3", message)
    lines = [line.strip().removeprefix("error: ") for line in message.splitlines()]
    return "; ".join(line for line in lines if line and not line.endswith(("pass pipeline:", "module assembly:")))


def _reproducer(pipeline: Pipeline, text: str, options: RunOptions) -> str:
    """Write the input of the failed run beside its command, and return that command."""
    folder = options.reproducers or Path(tempfile.gettempdir())
    digest = hashlib.sha256(f"{pipeline}\n{text}".encode()).hexdigest()[:12]
    path = folder / f"seerc-reproducer-{digest}.mlir"
    command = shlex.join([*options.command, f"--pass-pipeline={pipeline}", str(path)])
    write_atomically(path, f"// {command}\n{text}\n")
    return command


def _split(text: str) -> list[str]:
    """The pieces between separator lines, each after as many newlines as keep its line numbers right."""
    pieces: list[list[str]] = [[]]
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith(SEPARATOR):
            pieces.append([""] * number)
        else:
            pieces[-1].append(line)
    return ["\n".join(piece) for piece in pieces]
