"""run a compiled program on arrays from a file

seerc run build/model --input x.npz -o y.npz

The arrays of the .npz file are matched to the program's inputs by name; if no name fits, by order. The outputs go to
the -o file under the program's output names.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from costmodel.files import write_atomically
from seerc.cli.output import add_json_flag, report, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PROGRAM, its input, where the outputs go."""
    parser.add_argument("program", type=Path, metavar="PROGRAM", help="a folder that `seerc compile -o` wrote")
    parser.add_argument("--input", type=Path, metavar="FILE.npz", required=True, help="the input arrays")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE.npz", help="where the output arrays go")
    parser.add_argument("--threads", type=int, metavar="N", help="default: OMP_NUM_THREADS, or one a CPU")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Load, run once, report shape and range of each output."""
    import seerc

    program = seerc.load(args.program)
    inputs = _matched(_read(args.input), [spec.name for spec in program.inputs], args.input)
    outputs = dict(zip((spec.name for spec in program.outputs), program(*inputs, threads=args.threads), strict=True))
    if args.output is not None:
        _write(args.output, outputs)
    rows = [_described(name, array) for name, array in outputs.items()]
    columns = ("name", "shape", "dtype", "min", "max", "finite")
    report(args, {"outputs": rows}, table(columns, [[row[column] for column in columns] for row in rows]))
    return 0


def _read(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise SeercError(f"{path} is no .npz file of plain arrays: write it with numpy.savez") from error


def _matched(arrays: dict[str, Any], names: Sequence[str], path: Path) -> list[Any]:
    """The arrays in the order of the program's inputs."""
    missing = [name for name in names if name not in arrays]
    if not missing:
        return [arrays[name] for name in names]
    if len(missing) == len(names) == len(arrays):
        return list(arrays.values())
    raise SeercError(
        f"{path} lacks {', '.join(missing)}: the program takes {', '.join(names)}, found {', '.join(arrays)}"
    )


def _write(path: Path, outputs: dict[str, Any]) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **outputs)
    write_atomically(path, buffer.getvalue())


def _described(name: str, array: Any) -> dict[str, Any]:
    """Name, shape, dtype and range; min and max are null where the array is empty or holds NaN or infinity."""
    import numpy as np

    finite = bool(np.isfinite(array).all())
    low, high = (float(array.min()), float(array.max())) if finite and array.size else (None, None)
    shape = list(array.shape)
    return {"name": name, "shape": shape, "dtype": str(array.dtype), "min": low, "max": high, "finite": finite}
