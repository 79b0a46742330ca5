"""The text of a function's module, put together without LLVM, is what LLVM prints of it; or it is left to LLVM."""

from __future__ import annotations

import pytest

from ir_corpus import llvm, slicing
from ir_corpus.layout import as_printed, joined

MODULE = llvm.normalised(
    rb"""target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
target triple = "x86_64-unknown-linux-gnu"

%pair = type { i32, %leaf }
%leaf = type { ptr }
%one = type { i64, i64 }

@text = private unnamed_addr constant [7 x i8] c"a #1 #2"
@0 = private constant [2 x i8] c"b\00"
@counter = thread_local global i32 7, align 4

define i32 @calls(ptr %p) #3 {
  %v = getelementptr %one, ptr %p, i64 1, i32 1
  %x = call i32 @last(ptr @text) #2
  %y = call i32 asm " #1", "=r,r"(i32 %x) #1
  store i32 %y, ptr @counter
  call void @helper(ptr %v)
  ret i32 %y
}

define internal void @helper(ptr noundef nonnull %p) unnamed_addr #1 {
  ret void
}

define i32 @two_types(ptr %p) {
  %v = getelementptr %pair, ptr %p, i64 1, i32 1
  %x = load i32, ptr %v
  ret i32 %x
}

define ptr @no_name() {
  ret ptr @0
}

define void @node(ptr %p) {
  call void @llvm.experimental.noalias.scope.decl(metadata !0)
  ret void
}

declare i32 @last(ptr) #4
declare void @llvm.experimental.noalias.scope.decl(metadata)

attributes #1 = { nounwind }
attributes #2 = { cold }
attributes #3 = { minsize }
attributes #4 = { noreturn }
!0 = !{!1}
!1 = distinct !{!1, !2}
!2 = distinct !{!2}
"""
).text


@pytest.mark.parametrize("name", ["calls", "helper"])
def test_a_text_that_the_parts_tell_is_the_printed_one(name: str) -> None:
    parts = slicing.smallest(slicing.read(MODULE), [name])
    assert as_printed(parts) == llvm.checked(joined(parts)) == llvm.of_parts(parts)


def test_attributes_are_numbered_as_llvm_does_and_strings_stay() -> None:
    text = as_printed(slicing.smallest(slicing.read(MODULE), ["calls"]))
    assert text is not None
    assert "define i32 @calls(ptr %0) #0 {" in text
    assert 'c"a #1 #2"' in text
    assert 'asm " #1"' in text
    assert "attributes #0 = { minsize }\nattributes #1 = { noreturn }\nattributes #2 = { nounwind }" in text


@pytest.mark.parametrize("names", [["two_types"], ["no_name"], ["node"], ["calls", "helper"]])
def test_what_llvm_orders_anew_is_left_to_it(names: list[str]) -> None:
    parts = slicing.smallest(slicing.read(MODULE), names)
    assert as_printed(parts) is None
    assert llvm.of_parts(parts) == llvm.checked(joined(parts))


def test_a_text_that_llvm_refuses_is_no_module() -> None:
    parts = slicing.smallest(slicing.read("define i32 @f() {\n  ret i32 %1\n}\n"), ["f"])
    assert as_printed(parts) is not None
    with pytest.raises(llvm.BadIR, match="unparsable"):
        llvm.of_parts(parts)
