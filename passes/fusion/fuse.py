"""The `seerc-fuse` step: prepares the model, grows regions block by block, and outlines them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from passes.base import Pass, PassContext, PassError
from passes.fusion.generic import Values, walk
from passes.fusion.graph import Graph, Node
from passes.fusion.grow import Grower, Judge, Region
from passes.fusion.outline import Interface, Key, interface, write_function
from passes.fusion.prepare import prepare
from passes.mlir import func, ir

Decide = Callable[[str, Sequence[str]], bool]
"""`decide(merged, parts)` with candidate texts: whether to merge the parts into one region."""


@dataclass(frozen=True)
class Summary:
    """What fusion made of a model: calls and functions by kind, and linalg ops in the regions, counted by call."""

    calls: dict[str, int]
    functions: dict[str, int]
    ops: int
    plain: tuple[str, ...]
    """Names of the functions that only the upstream lowering can compile."""


def fuse(module: ir.Module, decide: Decide | None = None) -> ir.Module:
    """Rewrite @main of `module` in place into calls of regions and views; returns `module`.

    Without `decide` every legal merge is made; with it, each answer holds for all equal regions.

    Raises:
        PassError: there is no @main, or it has been fused already.
    """
    fuse_operation(module.operation, decide)
    return module


def fuse_operation(module: ir.Operation, decide: Decide | None = None) -> None:
    """`fuse` for the operation of a module."""
    functions = {
        _symbol(op.operation): op.operation for op in _body(module).operations if op.operation.name == "func.func"
    }
    main = functions.get("main")
    if main is None or not main.regions[0].blocks:
        raise PassError("seerc-fuse needs a function @main with a body; the module has none")
    if any("seerc.kind" in function.attributes for function in functions.values()):
        raise PassError("seerc-fuse: the module has regions (functions with seerc.kind) already; run it once")
    prepare(module)
    with module.context, ir.Location.unknown():
        _Fusion(_body(module), main, decide).run()


@dataclass(frozen=True)
class FusePass(Pass):
    """Turn @main into calls of private functions, one a region, and views; every legal merge is made."""

    name: ClassVar[str] = "seerc-fuse"
    op_name: ClassVar[str] = "builtin.module"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        fuse_operation(op)
        context.log.info("%s: %s", self.name, summarise(op))


def _body(module: ir.Operation) -> ir.Block:
    return module.regions[0].blocks[0]


def _symbol(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes["sym_name"]).value


@dataclass
class _Fusion:
    body: ir.Block
    main: ir.Operation
    decide: Decide | None
    functions: dict[Key, str] = field(default_factory=dict[Key, str])
    decisions: dict[Key, bool] = field(default_factory=dict[Key, bool])
    texts: dict[Key, str] = field(default_factory=dict[Key, str])
    replaced: Values = field(default_factory=dict[ir.Value, ir.Value])

    def run(self) -> None:
        block = self.main.regions[0].blocks[0]
        attrs = self.main.attributes
        flags = list(attrs["arg_attrs"]) if "arg_attrs" in attrs else []
        self.weights = frozenset(
            argument for argument, attr in zip(block.arguments, flags, strict=False) if "seerc.weight" in attr
        )
        self.block(block)

    def block(self, block: ir.Block) -> None:
        """Outline the regions of one block and of the loops and branches in it, in call order."""
        graph = Graph(block)
        grower = Grower(graph, None if self.decide is None else self._judge(graph))
        regions = grower.run()
        order = list(grower.partition.order())
        found = {group: interface(graph, regions[group], self.weights) for group in order if group in regions}
        end = graph.nodes[-1].op
        replaced: list[Node] = []
        for group in order:
            node = graph.nodes[group]
            if group in regions:
                self._call(regions[group], found[group], end)
                replaced += found[group].nodes
                continue
            if node.op != end:
                node.op.move_before(end)
            for inner in [b for r in node.op.regions for b in r.blocks] if node.kind == "nested" else []:
                self.block(inner)
        for old in (v for parts in found.values() for v in parts.results):
            old.replace_all_uses_with(self.replaced[old])
        for node in sorted(replaced, key=lambda n: n.index, reverse=True):
            node.op.erase()
        for node in reversed(graph.nodes):
            if node.kind in ("cloned", "view") and not any(next(iter(r.uses), None) for r in node.op.results):
                node.op.erase()

    def _call(self, region: Region, parts: Interface, before: ir.Operation) -> None:
        name = self.functions.get(parts.key)
        if name is None:
            name = self.functions[parts.key] = f"region_{len(self.functions)}"
            with ir.InsertionPoint(self.body):
                write_function(name, region, parts)
        with ir.InsertionPoint(before):
            arguments = [self.replaced.get(v, v) for v in parts.arguments]
            call = func.CallOp([v.type for v in parts.results], name, arguments)
        for old, new in zip(parts.results, call.results, strict=True):
            self.replaced[old] = new

    def _judge(self, graph: Graph) -> Judge:
        decide = self.decide
        assert decide is not None

        def judge(merged: Region, first: Region, second: Region) -> bool:
            views = [interface(graph, region, self.weights) for region in (merged, first, second)]
            key = tuple(view.key for view in views)
            if key not in self.decisions:
                texts = [self._text(r, v) for r, v in zip((merged, first, second), views, strict=True)]
                self.decisions[key] = decide(texts[0], texts[1:])
            return self.decisions[key]

        return judge

    def _text(self, region: Region, parts: Interface) -> str:
        if parts.key not in self.texts:
            module = ir.Module.create()
            with ir.InsertionPoint(module.body):
                write_function("region", region, parts)
            self.texts[parts.key] = str(module)
        return self.texts[parts.key]


def summarise(module: ir.Module | ir.Operation) -> Summary:
    """Counts of a fused module."""
    functions = {_symbol(op.operation): op.operation for op in _body(module.operation).operations}
    kinds = {n: ir.StringAttr(op.attributes["seerc.kind"]).value for n, op in functions.items() if n != "main"}
    sizes = {n: sum(o.name == "linalg.generic" for o in walk(op)) for n, op in functions.items()}
    called = [
        ir.FlatSymbolRefAttr(op.attributes["callee"]).value for op in walk(functions["main"]) if op.name == "func.call"
    ]
    return Summary(
        calls=dict(sorted(Counter(kinds[n] for n in called).items())),
        functions=dict(sorted(Counter(kinds.values()).items())),
        ops=sum(sizes[n] for n in called),
        plain=tuple(n for n, kind in kinds.items() if kind == "plain"),
    )
