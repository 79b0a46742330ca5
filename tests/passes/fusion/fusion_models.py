"""Small models as linalg text, written op by op as torch-mlir writes them."""

from __future__ import annotations


class Writer:
    """Builds @main; every method appends an op and returns the name of its result."""

    def __init__(self, arguments: list[str], weights: int) -> None:
        self.lines: list[str] = []
        flags = [f' {{seerc.weight = "w{i}"}}' if i < weights else "" for i in range(len(arguments))]
        self.arguments = ", ".join(f"%arg{i}: {t}{f}" for i, (t, f) in enumerate(zip(arguments, flags, strict=True)))

    def line(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"    {name} = {text}")
        return name

    def constant(self, value: str, type_: str = "f32") -> str:
        return self.line(f"arith.constant {value} : {type_}")

    def fill(self, type_: str, value: str = "0.0") -> str:
        scalar, empty = self.constant(value), self.line(f"tensor.empty() : {type_}")
        return self.line(f"linalg.fill ins({scalar} : f32) outs({empty} : {type_}) -> {type_}")

    def named(self, op: str, inputs: list[tuple[str, str]], type_: str, attributes: str = "") -> str:
        names, types = ", ".join(n for n, _ in inputs), ", ".join(t for _, t in inputs)
        return self.line(
            f"linalg.{op} {attributes} ins({names} : {types}) outs({self.fill(type_)} : {type_}) -> {type_}"
        )

    def generic(self, inputs: list[tuple[str, str, str]], out: tuple[str, str, str], loops: str, body: str) -> str:
        """`inputs` and `out` are (name, type, map results), `loops` is like "pr", `body` uses %a, %b, ..., %out."""
        dims = ", ".join(f"d{i}" for i in range(len(loops)))
        maps = ", ".join(f"affine_map<({dims}) -> ({m})>" for _, _, m in [*inputs, out])
        iterators = ", ".join('"parallel"' if c == "p" else '"reduction"' for c in loops)
        names, types = ", ".join(n for n, _, _ in inputs), ", ".join(t for _, t, _ in inputs)
        block = ", ".join([f"%{chr(97 + i)}: {element(t)}" for i, (_, t, _) in enumerate(inputs)])
        ins = f"ins({names} : {types}) " if inputs else ""
        return self.line(
            f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{iterators}]}} {ins}"
            f"outs({out[0]} : {out[1]}) {{\n    ^bb0({block}{', ' if block else ''}%out: {element(out[1])}):\n"
            f"      {body}\n    }} -> {out[1]}"
        )

    def map(self, inputs: list[tuple[str, str, str]], type_: str, body: str) -> str:
        """An all-parallel op whose result is indexed by its loops."""
        rank = type_.count("x")
        identity = ", ".join(f"d{i}" for i in range(rank))
        empty = self.line(f"tensor.empty() : {type_}")
        return self.generic(inputs, (empty, type_, identity), "p" * rank, body)

    def text(self, results: list[tuple[str, str]]) -> str:
        types, names = ", ".join(t for _, t in results), ", ".join(n for n, _ in results)
        body = "\n".join(self.lines)
        signature = f"func.func @main({self.arguments}) -> ({types})"
        return f"module {{\n  {signature} {{\n{body}\n    return {names} : {types}\n  }}\n}}\n"


def element(type_: str) -> str:
    return type_.removeprefix("tensor<").removesuffix(">").split("x")[-1]


def unary(op: str) -> str:
    return f"%r = {op} %a : f32\n      linalg.yield %r : f32"


def binary(op: str) -> str:
    return f"%r = {op} %a, %b : f32\n      linalg.yield %r : f32"


def accumulate(op: str) -> str:
    return f"%r = {op} %a, %out : f32\n      linalg.yield %r : f32"


def linear(w: Writer, x: str, weight: str, bias: str, rows: int, inner: int, columns: int) -> str:
    """x @ weight.T + bias."""
    out = f"tensor<{rows}x{columns}xf32>"
    stored, turned = f"tensor<{columns}x{inner}xf32>", f"tensor<{inner}x{columns}xf32>"
    empty = w.line(f"tensor.empty() : {turned}")
    t = w.line(f"linalg.transpose ins({weight} : {stored}) outs({empty} : {turned}) permutation = [1, 0]")
    product = w.named("matmul", [(x, f"tensor<{rows}x{inner}xf32>"), (t, turned)], out)
    return w.map([(product, out, "d0, d1"), (bias, f"tensor<{columns}xf32>", "d1")], out, binary("arith.addf"))


def gelu(w: Writer, x: str, type_: str) -> str:
    half, one, root = w.constant("0.5"), w.constant("1.0"), w.constant("1.41421354")
    body = (
        f"%s = arith.divf %a, {root} : f32\n      %e = math.erf %s : f32\n      %p = arith.addf %e, {one} : f32\n"
        f"      %h = arith.mulf %p, {half} : f32\n      %r = arith.mulf %a, %h : f32\n      linalg.yield %r : f32"
    )
    return w.map([(x, type_, "d0, d1")], type_, body)


def softmax(w: Writer, x: str, rows: int, columns: int) -> str:
    full, row = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}xf32>"
    low = w.fill(row, "0xFF800000")
    top = w.generic([(x, full, "d0, d1")], (low, row, "d0"), "pr", accumulate("arith.maximumf"))
    centred = w.map([(x, full, "d0, d1"), (top, row, "d0")], full, binary("arith.subf"))
    exp = w.map([(centred, full, "d0, d1")], full, unary("math.exp"))
    total = w.generic([(exp, full, "d0, d1")], (w.fill(row), row, "d0"), "pr", accumulate("arith.addf"))
    return w.map([(exp, full, "d0, d1"), (total, row, "d0")], full, binary("arith.divf"))


def layer_norm(w: Writer, x: str, scale: str, rows: int, columns: int) -> str:
    """With a keepdim mean, as exporters write it."""
    full, row, kept = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}xf32>", f"tensor<{rows}x1xf32>"
    count, eps = w.constant(f"{columns}.0"), w.constant("1.0e-05")

    def mean(value: str, after: str) -> str:
        total = w.generic([(value, full, "d0, d1")], (w.fill(kept), kept, "d0, 0"), "pr", accumulate("arith.addf"))
        body = f"%q = arith.divf %a, {count} : f32\n      {after}\n      linalg.yield %r : f32"
        share = w.map([(total, kept, "d0, 0")], kept, body)
        return w.line(f"tensor.collapse_shape {share} [[0, 1]] : {kept} into {row}")

    centre = mean(x, "%r = arith.negf %q : f32")
    centred = w.map([(x, full, "d0, d1"), (centre, row, "d0")], full, binary("arith.addf"))
    square = w.map([(centred, full, "d0, d1")], full, "%r = arith.mulf %a, %a : f32\n      linalg.yield %r : f32")
    spread = mean(square, f"%s = arith.addf %q, {eps} : f32\n      %r = math.rsqrt %s : f32")
    normal = w.map([(centred, full, "d0, d1"), (spread, row, "d0")], full, binary("arith.mulf"))
    return w.map([(normal, full, "d0, d1"), (scale, f"tensor<{columns}xf32>", "d1")], full, binary("arith.mulf"))
