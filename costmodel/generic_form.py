"""MLIR's generic form read as the pretty form.

Covers what workload functions hold: func, linalg, tensor, arith, math. Any other op stays in generic form, which is
also how MLIR prints ops that are not registered.
"""

from __future__ import annotations

from collections.abc import Callable

from costmodel.errors import SeercError
from costmodel.generic_op import Op, read_op, tokens
from costmodel.syntax import Group, Item, Items, Statement, Token, split_commas

_CASTS = frozenset("extf extsi extui truncf trunci sitofp uitofp fptosi fptoui index_cast index_castui bitcast".split())
_CMPF = "false oeq ogt oge olt ole one ord ueq ugt uge ult ule une uno true".split()
_CMPI = "eq ne slt sle sgt sge ult ule ugt uge".split()
_CONTRACTIONS = {
    "linalg.matmul": ("d0, d2", "d2, d1", "d0, d1"),
    "linalg.batch_matmul": ("d0, d1, d3", "d0, d3, d2", "d0, d1, d2"),
}
"""Named ops whose maps the pretty form leaves out where they are the usual ones."""
_VIEWS = {"linalg.transpose": "permutation", "linalg.broadcast": "dimensions"}


def pretty_statement(statement: Statement) -> Statement:
    """A statement in which every op that this module knows is in pretty form."""
    for item in statement.items:
        _convert_regions(item)
    if not statement.name.startswith('"'):
        return statement
    name = statement.name.strip('"')
    convert = _OPS.get(name) or _BY_DIALECT.get(name.partition(".")[0])
    try:
        return convert(read_op(statement, name)) if convert else statement
    except (IndexError, StopIteration, ValueError) as error:
        raise SeercError(f"line {statement.line}: {statement.name} in generic form lacks operands or types") from error


def _convert_regions(item: Item) -> None:
    if isinstance(item, Token):
        return
    if item.region is not None:
        item.region = [pretty_statement(s) for s in item.region]
        return
    for inner in item.items:
        _convert_regions(inner)


def _function(op: Op) -> Statement:
    symbol = next(tokens(op.take("sym_name") or []).__iter__()).text.strip('"')
    op.take("sym_visibility")
    kind = op.take("function_type") or []
    results = kind[2:]
    outputs = split_commas(results[0].items) if isinstance(results[0], Group) else [results]
    inputs = split_commas(kind[0].items) if isinstance(kind[0], Group) else []
    region = op.regions[0].region if op.regions else None
    if region and region[0].name.startswith("^"):
        label = region[0].items[0]
        inputs = split_commas(label.items) if isinstance(label, Group) and label.opener == "(" else []
    given = _with_attributes(inputs, op.take("arg_attrs"))
    made = _with_attributes(outputs, op.take("res_attrs"))
    items: Items = [Token("symbol", f"@{symbol}", op.source.line), op.bracket("(", given)]
    if made:
        items += [op.word("->"), op.bracket("(", made)]
    if rest := op.rest():
        items += [op.word("attributes"), *rest]
    if region:
        body = region[1:] if region[0].name.startswith("^") else region
        items.append(Group("{", [], op.source.line, body))
    return op.made(items)


def _module(op: Op) -> Statement:
    return op.made(list(op.regions), "module")


def _with_attributes(parts: list[Items], attributes: Items | None) -> list[Items]:
    """Arguments or results, each followed by its own dictionary where that is not empty."""
    array = attributes[0] if attributes else None
    found = split_commas(array.items) if isinstance(array, Group) else []
    empty: list[Items] = [[] for _ in parts]
    return [
        [*p, *(i for i in a if isinstance(i, Group) and i.items)] for p, a in zip(parts, found or empty, strict=True)
    ]


def _structured(op: Op) -> Statement:
    """linalg ops: `ins(...) outs(...)`; only linalg.generic shows its attributes apart and its region."""
    inputs = int((op.numbers("operandSegmentSizes") or op.numbers("operand_segment_sizes"))[-2])
    items: Items = []
    if op.name == "linalg.generic":
        kinds = [t for t in tokens(op.take("iterator_types") or []) if t.text in ("parallel", "reduction", "window")]
        names: list[Items] = [[Token("string", f'"{t.text}"', t.line)] for t in kinds]
        own: dict[str, Items] = {"iterator_types": [op.bracket("[", names)]}
        own |= {k: v for k in ("indexing_maps", "doc", "library_call") if (v := op.take(k)) is not None}
        entries: list[Items] = [[op.word(k), op.word("="), *own[k]] for k in sorted(own)]
        items = [op.bracket("{", entries)]
    else:
        _drop_usual_maps(op)
        op.attributes.pop("linalg.memoized_indexing_maps", None)
        items = op.rest()
    for word, part in (("ins", slice(0, inputs)), ("outs", slice(inputs, None))):
        if op.operands[part]:
            inner = [*op.values(op.operands[part]), op.word(":"), *op.commas(op.types[part])]
            items += [op.word(word), Group("(", inner, op.source.line)]
    if op.name == "linalg.generic":
        items += [*(op.say("attrs", "=") + rest if (rest := op.rest()) else []), op.regions[0]]
    if op.results:
        items += [op.word("->"), *(op.results[0] if len(op.results) == 1 else [op.bracket("(", op.results)])]
    return op.made(items)


def _view(op: Op) -> Statement:
    items: Items = []
    for word, k in (("ins", 0), ("outs", 1)):
        items += [op.word(word), Group("(", [op.operands[k], op.word(":"), *op.types[k]], op.source.line)]
    key = _VIEWS[op.name]
    return op.made([*items, *op.say(key, "="), op.list_of(key, []), *op.rest()])


def _drop_usual_maps(op: Op) -> None:
    usual = _CONTRACTIONS.get(op.name)
    found = [t.text for t in tokens(op.inherent.get("indexing_maps", [])) if t.kind == "map"]
    if usual and [t.partition("-> (")[2].rstrip(")> ") for t in found] == list(usual):
        del op.inherent["indexing_maps"]


def _yield(op: Op) -> Statement:
    """Terminators and other ops that print their operands and types alone."""
    name = "return" if op.name == "func.return" else op.name
    types = [op.word(":"), *op.commas(op.types)] if op.operands else []
    return op.made([*op.values(), *op.rest(), *types], name)


def _call(op: Op) -> Statement:
    types: Items = [op.bracket("(", op.types), op.word("->")]
    types += op.results[0] if len(op.results) == 1 else [op.bracket("(", op.results)]
    callee = op.take("callee") or []
    return op.made([*callee, op.bracket("(", [[o] for o in op.operands]), *op.rest(), op.word(":"), *types])


def _index(op: Op) -> Statement:
    return op.made([*op.say(*op.numbers("dim")[:1]), *op.rest(), *op.say(":", "index")])


def _constant(op: Op) -> Statement:
    value = op.take("value") or []
    return op.made([*op.rest(), *value])


def _scalar(op: Op) -> Statement:
    """arith and math: operands, flags, attributes, then as few types as tell the others."""
    short = op.name.partition(".")[2]
    head: Items = []
    if short in ("cmpf", "cmpi"):
        names = _CMPF if short == "cmpf" else _CMPI
        head = op.say(names[int(op.numbers("predicate")[0])], ",")
    flags: Items = []
    for key, word in (("roundingmode", ""), ("fastmath", "fastmath"), ("overflowFlags", "overflow")):
        value = [t for t in tokens(op.take(key) or []) if t.kind in ("word", "punctuation")]
        if word and len(value) > 2 and value[1].text != "none":
            flags += [op.word(word), *value]
        elif not word:
            flags += value if len(value) == 1 else value[1:-1]
    types: Items = [*op.types[0]]
    if short in _CASTS:
        types = [*op.types[0], op.word("to"), *op.results[0]]
    elif short == "select":
        same = [t.text for t in tokens(op.types[0])] == ["i1"]
        types = [*op.types[1]] if same else [*op.types[0], op.word(","), *op.types[1]]
    elif short in ("addui_extended", "fpowi"):
        types = op.commas(op.results if short == "addui_extended" else op.types)
    return op.made([*head, *op.values(), *flags, *op.rest(), op.word(":"), *types])


def _empty(op: Op) -> Statement:
    return op.made([op.bracket("(", [[o] for o in op.operands]), *op.rest(), op.word(":"), *op.results[0]])


def _of_source(op: Op) -> Statement:
    """`%a, %b : type of the first`."""
    return op.made([*op.values(), *op.rest(), op.word(":"), *op.types[0]])


def _of_result(op: Op) -> Statement:
    """`%a, %b [region] : type of the result`."""
    return op.made([*op.values(), *op.regions, *op.rest(), op.word(":"), *op.results[0]])


def _conversion(op: Op) -> Statement:
    return op.made([*op.values(), *op.rest(), op.word(":"), *op.types[0], op.word("to"), *op.results[0]])


def _element(op: Op) -> Statement:
    """tensor.extract and tensor.insert."""
    k = op.name == "tensor.insert"
    items: Items = [op.operands[0], op.word("into"), op.operands[1]] if k else [op.operands[0]]
    places = op.bracket("[", [[o] for o in op.operands[1 + k :]])
    return op.made([*items, places, *op.rest(), op.word(":"), *op.types[k]])


def _reshape(op: Op) -> Statement:
    items: Items = [op.operands[0], *(op.take("reassociation") or [])]
    if op.name == "tensor.expand_shape":
        items += [op.word("output_shape"), op.list_of("static_output_shape", op.operands[1:])]
    return op.made([*items, *op.rest(), op.word(":"), *op.types[0], op.word("into"), *op.results[0]])


def _slice(op: Op) -> Statement:
    """tensor.extract_slice and tensor.insert_slice."""
    insert = op.name == "tensor.insert_slice"
    counts = [int(n) for n in op.numbers("operandSegmentSizes")][-3:]
    items: Items = [op.operands[0], *([op.word("into"), op.operands[1]] if insert else [])]
    left = op.operands[1 + insert :]
    for key, count in zip(("static_offsets", "static_sizes", "static_strides"), counts, strict=True):
        items.append(op.list_of(key, left[:count]))
        left = left[count:]
    word = op.word("into" if insert else "to")
    return op.made([*items, *op.rest(), op.word(":"), *op.types[0], word, *op.results[0]])


def _pad(op: Op) -> Statement:
    _, low, _ = (int(n) for n in op.numbers("operandSegmentSizes"))
    items: Items = [op.operands[0], *(op.say("nofold") if op.take("nofold") is not None else []), op.word("low")]
    items += [op.list_of("static_low", op.operands[1 : 1 + low]), op.word("high")]
    items += [op.list_of("static_high", op.operands[1 + low :]), op.regions[0], *op.rest()]
    return op.made([*items, op.word(":"), *op.types[0], op.word("to"), *op.results[0]])


def _concat(op: Op) -> Statement:
    items: Items = [op.word("dim"), op.bracket("(", [op.say(*op.numbers("dim")[:1])]), *op.values(), *op.rest()]
    return op.made([*items, op.word(":"), op.bracket("(", op.types), op.word("->"), *op.results[0]])


_OPS: dict[str, Callable[[Op], Statement]] = {
    "builtin.module": _module,
    "func.func": _function,
    "func.return": _yield,
    "func.call": _call,
    "linalg.index": _index,
    "linalg.yield": _yield,
    "tensor.yield": _yield,
    "arith.constant": _constant,
    "tensor.empty": _empty,
    "tensor.dim": _of_source,
    "tensor.splat": _of_result,
    "tensor.generate": _of_result,
    "tensor.from_elements": _of_result,
    "tensor.cast": _conversion,
    "tensor.bitcast": _conversion,
    "tensor.extract": _element,
    "tensor.insert": _element,
    "tensor.expand_shape": _reshape,
    "tensor.collapse_shape": _reshape,
    "tensor.extract_slice": _slice,
    "tensor.insert_slice": _slice,
    "tensor.pad": _pad,
    "tensor.concat": _concat,
    "linalg.generic": _structured,
    "linalg.fill": _structured,
    "linalg.matmul": _structured,
    "linalg.batch_matmul": _structured,
    "linalg.transpose": _view,
    "linalg.broadcast": _view,
}
_BY_DIALECT: dict[str, Callable[[Op], Statement]] = {"arith": _scalar, "math": _scalar}
