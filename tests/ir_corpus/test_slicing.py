"""A function alone, with no more than it needs, is a valid module."""

from __future__ import annotations

import pytest

from ir_corpus import llvm, slicing
from ir_corpus.layout import joined

MODULE = """target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
target triple = "x86_64-unknown-linux-gnu"

%node = type { i32, %leaf }
%leaf = type { ptr }
%unused = type { i64 }

$inlined = comdat any

@text = private unnamed_addr constant [3 x i8] c"hi\\00", align 1
@table = internal constant [2 x ptr] [ptr @helper, ptr @inlined], align 16
@counter = thread_local(initialexec) global i32 7, align 4
@other = global i32 1
@name = alias void (i32), ptr @helper
@"odd @name" = global %node zeroinitializer, align 8

define internal void @helper(i32 %0) #0 {
  store i32 %0, ptr @counter, align 4
  ret void
}

define linkonce_odr noundef i32 @inlined(ptr byval(%node) align 8 %0, i32 %1) #0 comdat personality ptr @__unwind {
  call void @helper(i32 %1)
  %3 = load ptr, ptr @table, align 8
  %4 = call i32 (ptr, ...) @printf(ptr @text)
  call void @name(i32 %4)
  store i32 1, ptr @"odd @name", align 4
  ret i32 %4
}

declare i32 @printf(ptr, ...)

declare i32 @__unwind(...)

attributes #0 = { nounwind }
"""


def test_only_what_is_needed_comes_along() -> None:
    parts = slicing.read(MODULE)
    text = llvm.of_parts(slicing.smallest(parts, ["inlined"]))
    assert "define linkonce_odr noundef i32 @inlined" in text
    assert "declare void @helper(i32)" in text
    assert "declare void @name(i32)" in text
    assert '@text = private unnamed_addr constant [3 x i8] c"hi\\00"' in text
    assert '@"odd @name" = external global %node, align 8' in text
    assert "%leaf = type" in text
    for absent in ("%unused", "@other", "@counter", "comdat", "target"):
        assert absent not in text


def test_thread_local_variables_stay_so() -> None:
    text = llvm.of_parts(slicing.smallest(slicing.read(MODULE), ["helper"]))
    assert "@counter = external thread_local(initialexec) global i32, align 4" in text


def test_a_foreign_target_stays() -> None:
    foreign = MODULE.replace("x86_64-unknown-linux-gnu", "nvptx64-nvidia-cuda")
    assert "nvptx64" in joined(slicing.smallest(slicing.read(foreign), ["helper"]))


def test_several_functions_are_defined_together() -> None:
    text = llvm.of_parts(slicing.smallest(slicing.read(MODULE), ["helper", "inlined"]))
    assert text.count("define ") == 2
    assert "declare void @helper" not in text


def test_what_the_module_lacks_is_no_slice() -> None:
    with pytest.raises(slicing.NoSlice, match="gone"):
        slicing.smallest(slicing.read("define void @f() {\n  call void @gone()\n  ret void\n}\n"), ["f"])
