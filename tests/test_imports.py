"""The architecture, checked on the imports: one direction, no cycles, one door to MLIR, a light front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "costmodel": set[str](),
    "passes": {"costmodel"},
    "compiler": {"costmodel", "passes"},
    "ir_corpus": {"costmodel"},
    "seerc": {"costmodel", "passes", "compiler", "ir_corpus"},
}
BINDINGS = ("torch_mlir", "mlir", "iree")
HEAVY = ("torch", "transformers", "torch_mlir", "xgboost", "numpy", "pyarrow", "networkx", "rich")
FILES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(node: ast.AST, at_import: bool) -> Iterator[ast.AST]:
    """Every node below; with `at_import` only those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if at_import and (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(child)):
            continue
        yield child
        yield from walk(child, at_import)


def imports(path: Path, at_import: bool = False) -> set[str]:
    """The dotted names that a file imports; `from a import b` gives `a` and `a.b`."""
    found: set[str] = set()
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), at_import):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    forbidden = (MAY_IMPORT.keys() | {"tests", "tools"}) - MAY_IMPORT[folder] - {folder}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if path.is_relative_to(ROOT / folder)
        for name in sorted(imports(path))
        if name.split(".")[0] in forbidden
    ]
    assert not wrong


def test_no_import_cycles() -> None:
    modules = {module_name(path): path for path in FILES}
    graph = nx.DiGraph()
    for name, path in modules.items():
        found = imports(path, at_import=True) & modules.keys()
        graph.add_edges_from((name, target) for target in found if target != name)
    assert not list(nx.simple_cycles(graph))


def test_mlir_bindings_have_one_door() -> None:
    doors = (ROOT / "passes" / "mlir.py", ROOT / "compiler" / "frontend")
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if not any(path.is_relative_to(door) for door in doors)
        for name in sorted(imports(path))
        if name.split(".")[0] in BINDINGS
    ]
    assert not wrong


@pytest.mark.parametrize("statement", ["import seerc", "import seerc.cli; seerc.cli.build_parser()"])
def test_front_door_is_light(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted(set({HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_foreign_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "compiler").mkdir()
    (tmp_path / "compiler" / "__init__.py").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import seerc"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'compiler'} hides seerc's own package 'compiler'" in done.stderr


def test_every_module_says_what_it_is_for() -> None:
    assert [str(p.relative_to(ROOT)) for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))] == []
