"""The pass layer: options as text, the pipeline syntax, running mixed pipelines, and what a failure says."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import SeercError
from passes.base import Pass, PassContext, PassError
from passes.mlir import PassManager, ir
from passes.mlir import context as mlir_context
from passes.options import parse_options
from passes.pipeline import Item, Nest, Pipeline, Upstream
from passes.registry import Entry, PassRegistry, installed
from passes.runner import RunOptions, run_on, run_text

SOURCE = """
func.func @f(%a: i32) -> i32 {
  %zero = arith.constant 0 : i32
  %b = arith.addi %a, %zero : i32
  return %b : i32
}
func.func @g() {
  return
}
"""


@dataclass(frozen=True)
class Options(Pass):
    """Has an option of every type and records where it ran."""

    name: ClassVar[str] = "test-options"
    n: int = 1
    learning_rate: float = 0.5
    keep: bool = False
    label: str = ""
    tiles: tuple[int, ...] = (4, 4)
    names: tuple[str, ...] = ()
    limit: int | None = None
    note: str | None = "x"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        op.attributes["test.n"] = ir.StringAttr.get(str(self.n))
        context.log.info("%s ran", op.name)


@dataclass(frozen=True)
class Required(Pass):
    """Has an option without a default."""

    name: ClassVar[str] = "test-required"
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size must not be negative")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        pass


@dataclass(frozen=True)
class Fails(Pass):
    """Fails in the way that `how` says."""

    name: ClassVar[str] = "test-fails"
    op_name: ClassVar[str] = "func.func"
    how: str = "error"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        if self.how == "error":
            raise PassError("cannot do it")
        if self.how == "bug":
            raise KeyError("oops")
        block = op.regions[0].blocks[0]
        block.operations[len(block.operations) - 1].erase()  # a function without its terminator is invalid


def registry_of(*classes: type[Pass]) -> PassRegistry:
    return PassRegistry(MappingProxyType({c.name: Entry(c.name, f"test:{c.name}", lambda c=c: c) for c in classes}))


REGISTRY = registry_of(Options, Required, Fails)


def parse(text: str) -> Pipeline:
    return Pipeline.parse(text, REGISTRY)


def run(text: str, source: str = SOURCE, **options: Any) -> str:
    return run_text(parse(text), source, "in.mlir", RunOptions(**options))


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
OPTIONS = st.builds(
    Options,
    n=st.integers(),
    learning_rate=st.floats(allow_nan=False),
    keep=st.booleans(),
    label=TEXT,
    tiles=st.lists(st.integers(), max_size=3).map(tuple),
    names=st.lists(TEXT, max_size=3).map(tuple),
    limit=st.none() | st.integers(),
    note=st.none() | TEXT | st.just("none"),
)
UPSTREAM = st.builds(
    Upstream,
    name=st.sampled_from(["canonicalize", "cse", "one-shot-bufferize"]),
    options=st.sampled_from(["", "top-down=false", "pipelines={func.func(a{b=1})} n=2"]),
)
ITEMS: st.SearchStrategy[Item] = st.recursive(
    OPTIONS | st.builds(Required, size=st.integers(min_value=0)) | UPSTREAM,
    lambda inner: st.builds(
        Nest, op_name=st.sampled_from(["func.func", "gpu.module", "any"]), items=st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


@given(st.builds(Pipeline, items=st.lists(ITEMS, max_size=4).map(tuple)))
@settings(max_examples=200, deadline=None)
def test_print_then_parse_is_identity(pipeline: Pipeline) -> None:
    assert parse(str(pipeline)) == pipeline


def test_options_are_typed_and_dashes_are_underscores() -> None:
    text = ' learning-rate=2 keep label="a b{}" tiles=1,2 names="x,y",z limit=7 note=none '
    assert parse_options(Options, text) == Options(
        learning_rate=2.0, keep=True, label="a b{}", tiles=(1, 2), names=("x,y", "z"), limit=7, note=None
    )
    assert str(Options(tiles=(), limit=3)) == "test-options{tiles= limit=3}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test-options{n=x}", "option n of pass test-options must be an integer, got 'x'"),
        ("test-options{keep=maybe}", "must be true or false, got 'maybe'"),
        ("test-options{tile=1}", "has no option 'tile': did you mean tiles?"),
        ("test-options{n=1 n=2}", "option n is given twice"),
        ("test-options{=1}", "cannot read the options at '=1'"),
        ("test-required", "needs option size: write test-required{size=...}"),
        ("test-required{size=-1}", "pass test-required: size must not be negative"),
        ("cse, ", "column 21: expected the name of a pass or operation, found ')'"),
        ("func.func(cse", "column 30: expected ',' or ')', found 'the end'"),
        ("cse{a", "column 19: this '{' is never closed, found '{a)'"),
        ("canonicalise", "unknown pass 'canonicalise', neither registered with seerc nor upstream: did you mean canon"),
        ("canonicalize{nope=1}", "no such option nope"),
        ("func.func(one-shot-bufferize)", "restricted to 'builtin.module'"),
        ("any(test-options)", "any(...) cannot hold a Python pass"),
    ],
)
def test_a_wrong_pipeline_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(SeercError) as caught:
        run(f"builtin.module({text})")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipeline_is_anchored_on_the_module() -> None:
    with pytest.raises(SeercError, match=r"write builtin.module\(cse\)"):
        parse("cse")
    with pytest.raises(SeercError, match="expected the end"):
        parse("builtin.module(cse) cse")


def test_python_and_upstream_passes_mix_at_any_nesting() -> None:
    output = run("builtin.module(test-options{n=5}, func.func(canonicalize, test-options{n=6}, cse), symbol-dce)")
    assert "arith.addi" not in output
    assert output.count('test.n = "6"') == 2
    assert 'module attributes {test.n = "5"}' in output


def test_python_passes_see_what_came_before_in_their_nest(caplog: pytest.LogCaptureFixture) -> None:
    nested = "module { module @inner { func.func @f() { return } } func.func @outer() { return } }"
    with caplog.at_level(logging.INFO, "seerc.passes"):
        output = run("builtin.module(builtin.module(func.func(test-options{n=2})))", nested)
    assert caplog.messages == ["func.func ran"]
    assert output.index("test.n") < output.index("@outer")


def test_a_pass_object_goes_into_any_pass_manager() -> None:
    with mlir_context():
        module = ir.Module.parse(SOURCE)
        manager = PassManager("builtin.module")
        manager.add("canonicalize")
        Options(n=9).add_to(manager)
        Options(n=8).add_to(manager, nest=("func.func",))
        manager.run(module.operation)
        assert "test-options{n=9}" in str(manager)
        assert str(module).count('test.n = "8"') == 2
        assert module.operation.attributes["test.n"].value == "9"


def reproducer(message: str) -> tuple[str, list[str]]:
    """The text of the reproducer that a message names, and the words of its command."""
    words = shlex.split(message.partition("reproduce with: ")[2])
    return Path(words[-1]).read_text(encoding="utf-8"), words


def test_a_failure_names_pass_place_and_reproducer(tmp_path: Path) -> None:
    with pytest.raises(SeercError) as caught:
        run("builtin.module(canonicalize,func.func(test-fails))", reproducers=tmp_path, command=("seerc", "opt", "-v"))
    message = str(caught.value)
    assert message.startswith("cannot do it; in pass test-fails, on func.func at in.mlir:2:1; reproduce with: ")
    text, words = reproducer(message)
    assert words[:3] == ["seerc", "opt", "-v"]
    assert "arith.addi" in text
    with pytest.raises(SeercError, match="cannot do it"):
        run(words[3].removeprefix("--pass-pipeline="), text, reproducers=tmp_path)


def test_invalid_ir_from_a_pass_is_caught(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match=r"^in.mlir:7:1: empty block: expect at least a terminator; reproduce with: "):
        run(
            "builtin.module(func.func(test-fails{how=erase}))",
            "\n" * 6 + "func.func @g() { return }",
            reproducers=tmp_path,
        )


def test_a_bug_in_a_pass_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as caught:
        run("builtin.module(func.func(test-fails{how=bug}))", reproducers=tmp_path)
    assert any("in pass test-fails{how=bug}" in note for note in caught.value.__notes__)
    assert any("reproduce with: seerc opt" in note for note in caught.value.__notes__)


def test_a_pass_is_refused_on_other_operations(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match=r"pass test-fails runs on func.func, not on builtin.module"):
        run("builtin.module(test-fails)", reproducers=tmp_path)


def test_text_that_does_not_parse_names_file_and_line() -> None:
    with pytest.raises(SeercError, match=r"^in.mlir:3:3: custom op 'foo' is unknown"):
        run("builtin.module()", "module {\nfunc.func @f() {\n  foo\n}}")


def test_split_input_keeps_line_numbers() -> None:
    pieces = "func.func @a() { return }\n// -----\nfunc.func @a() { return }\n"
    output = run("builtin.module(test-options)", pieces, split_input_file=True)
    assert output.count("// -----") == 1
    assert output.count("func.func @a") == 2
    with pytest.raises(SeercError, match=r"^in.mlir:4:1: "):
        run("builtin.module()", f"{pieces}foo", split_input_file=True)


def test_print_ir_and_timing_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    run("builtin.module(func.func(test-options),canonicalize)", print_ir_after_all=True, timing=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "IR Dump After Options: test-options" in captured.err
    assert "IR Dump After CanonicalizerPass" in captured.err
    assert "Execution time report" in captured.err


def test_run_on_edits_in_place() -> None:
    with mlir_context():
        module = ir.Module.parse(SOURCE)
        run_on(parse("builtin.module(canonicalize)"), module.operation)
        assert "arith.addi" not in str(module)


def test_a_python_pass_may_not_hide_an_upstream_one() -> None:
    @dataclass(frozen=True)
    class Hides(Options):
        name: ClassVar[str] = "one-shot-bufferize"

    pipeline = Pipeline.parse("builtin.module(one-shot-bufferize)", registry_of(Hides))
    with pytest.raises(SeercError, match="has the name of an upstream pass"):
        run_text(pipeline, SOURCE)


@pytest.mark.parametrize("name", installed().names)
def test_every_registered_pass_loads_and_prints(name: str) -> None:
    cls = installed().get(name)
    assert cls.name == name
    assert (cls.__doc__ or "").strip()
