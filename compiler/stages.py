"""A model's stages on the way to native code, for `seerc compile --emit`.

| stage | what |
| --- | --- |
| torch | the exported graph, decomposed and folded, in the torch dialect |
| linalg | the imported module: linalg on tensors |
| regions | after fusion: @main of calls and views, one function a region |
| scheduled | every candidate: its workload with strides and the chosen schedule |
| loops | the kernels as emitted: scf and vector on memrefs |
| llvm | the kernels and seerc_run in the LLVM dialect |
| asm | the disassembled objects |
| obj | a folder with an object file for each kernel and seerc_run |
| so | a folder with NAME.so, NAME.weights.bin, NAME.h and NAME_example.c |

Modules of one text are separated by `// -----`, which `seerc opt --split-input-file` and mlir-opt read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from compiler.driver import CompileOptions, Stages, build_program, lower_model
from compiler.frontend.model import ImportedModel, LoadedModel
from compiler.frontend.torch_text import torch_text
from compiler.native.link import EXPORTED
from compiler.native.main import emit_main
from compiler.native.program import LIBRARY, WEIGHTS
from costmodel.errors import SeercError
from costmodel.files import write_atomically

SPLIT = "\n// -----\n"


def emit(stage: str, model: LoadedModel, options: CompileOptions, output: Path | None) -> str | list[Path]:
    """The stage as text, or the files that it wrote into the folder `output`; compiles no further than needed."""
    if stage == "torch":
        return torch_text(model)
    if stage == "linalg":
        return model.imported.text
    return emit_stages(stage, model, lower_model(model.imported, options), output)


def emit_stages(stage: str, model: LoadedModel, stages: Stages, output: Path | None) -> str | list[Path]:
    """The same for a model that has been lowered."""
    imported = model.imported
    texts: dict[str, Callable[[], str]] = {
        "torch": lambda: torch_text(model),
        "linalg": lambda: imported.text,
        "regions": lambda: stages.fused,
        "scheduled": lambda: SPLIT.join(choice.candidate for choice in stages.choices.values()),
        "loops": lambda: SPLIT.join(_kernels(stages)),
        "llvm": lambda: SPLIT.join(_llvm_modules(imported, stages)),
        "asm": lambda: "\n".join(_assembly(imported, stages)),
    }
    if stage in texts:
        return texts[stage]()
    if output is None:
        raise SeercError(f"--emit {stage} writes files: say where with -o FOLDER")
    output.mkdir(parents=True, exist_ok=True)
    return _objects(imported, stages, output) if stage == "obj" else _library(imported, stages, output)


def _kernels(stages: Stages) -> Iterator[str]:
    from compiler.emit.candidate import emit_candidate

    for key, choice in stages.choices.items():
        yield f"// {key}\n{emit_candidate(choice.candidate).module}"


def _llvm_modules(model: ImportedModel, stages: Stages) -> Iterator[str]:
    from compiler.emit.candidate import emit_candidate
    from compiler.native.lower import lower_to_llvm

    for key, choice in stages.choices.items():
        kernel = emit_candidate(choice.candidate)
        lower_to_llvm(kernel.module)
        yield f"// {key}\n{kernel.module}"
    yield f"// {EXPORTED}\n{_main_text(model, stages)}"


def _main_text(model: ImportedModel, stages: Stages) -> str:
    return emit_main(stages.assembly.calls, len(model.inputs), len(model.outputs))


def _object_files(model: ImportedModel, stages: Stages) -> Iterator[tuple[str, bytes]]:
    from compiler.native.lower import compile_object

    for key, kernel in stages.kernels.items():
        yield key, kernel.object
    yield EXPORTED, compile_object(_main_text(model, stages), EXPORTED)


def _assembly(model: ImportedModel, stages: Stages) -> Iterator[str]:
    """Intel syntax, with the symbols that calls and addresses are relocated to as comments."""
    import capstone

    from compiler.native.elf import read_functions

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for name, content in _object_files(model, stages):
        yield f"# {name}.o"
        for function in read_functions(content):
            if function.name.startswith("_mlir_"):
                continue
            symbols = {relocation.offset: relocation.symbol for relocation in function.relocations}
            yield f"{function.name}:"
            for address, size, mnemonic, operands in decoder.disasm_lite(function.code, 0):
                target = next((symbols[at] for at in range(address, address + size) if at in symbols), None)
                note = f"  # {target}" if target else ""
                yield f"  {address:6x}:  {mnemonic:<14} {operands}{note}".rstrip()


def _objects(model: ImportedModel, stages: Stages, folder: Path) -> list[Path]:
    files: list[Path] = []
    for name, content in _object_files(model, stages):
        files.append(folder / f"{name}.o")
        write_atomically(files[-1], content)
    return files


def _library(model: ImportedModel, stages: Stages, folder: Path) -> list[Path]:
    from compiler.native.header import emit_example, emit_header

    program = build_program(model, stages)
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in model.name)
    library, weights = folder / f"{name}.so", folder / f"{name}.weights.bin"
    write_atomically(library, (program.folder / LIBRARY).read_bytes())
    write_atomically(weights, (program.folder / WEIGHTS).read_bytes())
    texts = {
        f"{name}.h": emit_header(name, program.manifest),
        f"{name}_example.c": emit_example(name, program.manifest),
    }
    for file, text in texts.items():
        write_atomically(folder / file, text)
    return [library, weights, *(folder / file for file in texts)]
