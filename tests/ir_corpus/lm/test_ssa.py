"""Renumbered IR is the same program, whatever its values were called."""

from __future__ import annotations

import llvmlite.binding as llvm
from hypothesis import given
from hypothesis import strategies as st

from ir_corpus.lm.ssa import renumber

LOOP = """%pair = type { i32, i32 }
@text = constant [12 x i8] c"%n; entry:\\0A\\00"

define i32 @count(ptr %start, i32 %n) {
  %empty = icmp eq i32 %n, 0
  br i1 %empty, label %done, label %"a loop"

"a loop":                                         ; preds = %0, %"a loop"
  %i = phi i32 [ 0, %0 ], [ %next, %"a loop" ]
  %field = getelementptr %pair, ptr %start, i32 %i, i32 1
  %next = add i32 %i, 1
  store i32 %i, ptr %field, align 4
  %more = icmp ult i32 %next, %n
  br i1 %more, label %"a loop", label %done

done:
  %result = phi i32 [ 0, %0 ], [ %next, %"a loop" ]
  ret i32 %result
}
"""


def printed(text: str) -> str:
    module = llvm.parse_assembly(text)
    module.verify()
    return str(module)


def test_the_result_is_valid_and_keeps_types_strings_and_globals() -> None:
    text = renumber(LOOP)
    printed(text)
    assert "getelementptr %pair, ptr %v0" in text
    assert r'c"%n; entry:\0A\00"' in text
    assert not [name for name in ("%start", "a loop", "%0") if name in text]


def test_names_leave_no_trace() -> None:
    other = LOOP.replace("%i", "%zz").replace("%next", '%"the next"').replace("%start", "%p").replace("a loop", "B1")
    assert renumber(other) == renumber(LOOP)


def test_renumbering_twice_changes_nothing() -> None:
    assert renumber(renumber(LOOP)) == renumber(LOOP)


def test_labelled_and_numbered_entries_are_valid() -> None:
    entry = "define i32 @f(i32 %x) {\nentry:\n  br label %next\n\nnext:\n  ret i32 %x\n}\n"
    numbers = "define i32 @f(i32 %0, i32 %1) {\n  %3 = add i32 %0, %1\n  br label %4\n\n4:\n  ret i32 %3\n}\n"
    for text in (entry, numbers):
        printed(renumber(text))


@given(st.text())
def test_what_is_no_function_stays(text: str) -> None:
    if "define" not in text:
        assert renumber(text) == text
