"""A child process: compiles the module-level functions of one Python file with numba, and writes one LLVM module.

    python numba_harvest.py FILE.py OUT.ll LEVEL

Each function is compiled for the first list of argument types that numba's inference accepts. Beside OUT.ll lies
places.json: `{symbol: [name, line]}`. Nothing of the file runs but its imports of numpy, math and numba, its constants
and its definitions. It is called by `ir_corpus.compiling` in a sandbox, and imports nothing of seerc.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ALLOWED = {"math", "numpy", "numba", "cmath"}
_MAX_FUNCTIONS = 400


def main(source: str, out: str, level: str) -> int:
    """Compile, link, write; exit code 1 where no function could be compiled."""
    os.environ["NUMBA_OPT"] = level
    os.environ["NUMBA_CACHE_DIR"] = str(Path(out).parent)
    import llvmlite.binding as llvm

    text = Path(source).read_text(encoding="utf-8")
    modules, places = list[str](), dict[str, tuple[str, int]]()
    for node, function in _functions(text):
        found = _compiled(function)
        if found is not None:
            symbol, ir = found
            if symbol not in places:
                places[symbol] = (node.name, node.lineno)
                modules.append(ir)
    if not modules:
        print("no function that numba compiles", file=sys.stderr)
        return 1
    linked = llvm.parse_assembly(modules[0])
    for ir in modules[1:]:
        linked.link_in(llvm.parse_assembly(ir))
    Path(out).write_text(str(linked), encoding="utf-8")
    (Path(out).parent / "places.json").write_text(json.dumps(places), encoding="utf-8")
    return 0


def _functions(text: str) -> Iterator[tuple[ast.FunctionDef, Any]]:
    """The functions of a file that stand alone, with the numbers and the harmless imports around them."""
    namespace: dict[str, Any] = {"__name__": "unit"}
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        if _harmless(node):
            _execute(node, namespace)
    for node in functions[:_MAX_FUNCTIONS]:
        node.decorator_list = []
        node.returns = None
        _execute(node, namespace)
    for node in functions[:_MAX_FUNCTIONS]:
        if node.name in namespace and not (node.args.vararg or node.args.kwarg or node.args.kwonlyargs):
            yield node, namespace[node.name]


def _harmless(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] in _ALLOWED for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in _ALLOWED and not node.level
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def _execute(node: ast.stmt, namespace: dict[str, Any]) -> None:
    try:
        exec(compile(ast.Module([node], []), "unit", "exec"), namespace)
    except Exception as error:
        print(f"line {node.lineno}: {error}", file=sys.stderr)


def _compiled(function: Any) -> tuple[str, str] | None:
    """The symbol of a function and the IR of its module, for the first argument types that fit."""
    import numba
    from numba import types

    count = function.__code__.co_argcount
    kinds = [
        types.int64,
        types.float64,
        types.float64[::1],
        types.int64[::1],
        types.float64[:, ::1],
        types.unicode_type,
    ]
    lists = [(kind,) * count for kind in kinds] if count else [()]
    if count > 1:
        lists += [
            (types.float64[::1], *[types.int64] * (count - 1)),
            (types.float64[::1], *[types.float64] * (count - 1)),
        ]
    for arguments in lists:
        try:
            compiler: Any = numba.njit
            dispatcher = compiler(arguments, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
            ir = dispatcher.inspect_llvm(dispatcher.signatures[0])
            symbol = dispatcher.overloads[dispatcher.signatures[0]].fndesc.llvm_func_name
            return symbol, ir
        except Exception:
            continue
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
