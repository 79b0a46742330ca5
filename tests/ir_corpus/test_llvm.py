"""IR is parsed, verified and printed by one LLVM: the same bytes for the same input, nothing of names and machines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir_corpus import llvm
from ir_corpus.ir_text import closing, split_functions, split_outermost
from ir_corpus.numbering import numbered

DEBUG = """
source_filename = "/home/someone/a.c"
@s = private constant [9 x i8] c"!dbg !12\\00"

define i32 @sum(ptr %values, i32 %"odd name") #0 !dbg !4 {
entry:
  %zero = icmp eq i32 %"odd name", 0, !dbg !7
  br i1 %zero, label %done, label %"more work", !prof !8

"more work":                                      ; preds = %entry
  %first = load i32, ptr %values, align 4, !tbaa !9
  br label %done

done:                                             ; preds = %"more work", %entry
  %result = phi i32 [ 0, %entry ], [ %first, %"more work" ]
  call void @use(ptr @s)
  ret i32 %result
}

declare void @use(ptr) #1

attributes #0 = { nounwind "target-cpu"="znver4" "frame-pointer"="all" }
attributes #1 = { "target-cpu"="znver4" }

!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!3}
!llvm.ident = !{!6}
!0 = distinct !DICompileUnit(language: DW_LANG_C11, file: !1, emissionKind: LineTablesOnly)
!1 = !DIFile(filename: "a.c", directory: "/home/someone")
!3 = !{i32 2, !"Debug Info Version", i32 3}
!4 = distinct !DISubprogram(name: "sum", scope: !1, file: !1, line: 7, type: !5, unit: !0, spFlags: DISPFlagDefinition)
!5 = !DISubroutineType(types: !2)
!2 = !{}
!6 = !{!"some compiler 1.2.3"}
!7 = !DILocation(line: 8, scope: !4)
!8 = !{!"branch_weights", i32 1, i32 9}
!9 = !{!10, !10, i64 0}
!10 = !{!"int", !11}
!11 = !{!"root"}
"""


def test_what_is_dropped_and_what_stays() -> None:
    module = llvm.normalised(DEBUG.encode())
    for word in (
        "someone",
        "znver4",
        "frame-pointer",
        "some compiler",
        "preds",
        "%entry",
        "!0",
        "branch_weights",
        ", !",
    ):
        assert word not in module.text
    assert 'c"!dbg !12\\00"' in module.text  # a string is no metadata
    assert "nounwind" in module.text
    assert "define i32 @sum(ptr %0, i32 %1)" in module.text
    assert "phi i32 [ 0, %2 ], [ %5, %4 ]" in module.text


def test_text_of_our_own_llvm_gives_the_same_without_being_printed_first() -> None:
    with llvm._parsed(DEBUG) as module:  # pyright: ignore[reportPrivateUsage]
        printed = str(module).encode()
    assert llvm.normalised(printed, current=True) == llvm.normalised(DEBUG.encode())
    assert llvm.bitcode(llvm.normalised(printed).text) == llvm.normalised(printed, current=True).bitcode


def test_nodes_that_code_names_stay_and_records_go() -> None:
    text = """define void @f(i32 %x) !dbg !4 {
  call void @llvm.experimental.noalias.scope.decl(metadata !7)
    #dbg_value(i32 %x, !9, !DIExpression(), !6)
  ret void, !dbg !6
}
declare !dbg !5 void @llvm.experimental.noalias.scope.decl(metadata) #0
attributes #0 = { "no-trapping-math"="true" }
!llvm.module.flags = !{!3}
!0 = distinct !DICompileUnit(language: DW_LANG_C11, file: !1, emissionKind: FullDebug)
!1 = !DIFile(filename: "a.c", directory: "/home/someone")
!2 = !DISubroutineType(types: !{})
!3 = !{i32 2, !"Debug Info Version", i32 3}
!4 = distinct !DISubprogram(name: "f", scope: !1, file: !1, line: 7, type: !2, unit: !0, spFlags: DISPFlagDefinition)
!5 = !DISubprogram(name: "g", scope: !1, file: !1, line: 7, type: !2, spFlags: DISPFlagOptimized)
!6 = !DILocation(line: 8, scope: !4)
!7 = !{!8}
!8 = distinct !{!8, !10}
!9 = !DILocalVariable(name: "x", scope: !4, file: !1, line: 7)
!10 = distinct !{!10}
"""
    printed = llvm.normalised(text.encode()).text
    assert printed == llvm.checked(printed)
    assert "scope.decl(metadata !0)" in printed
    assert printed.endswith("!0 = !{!1}\n!1 = distinct !{!1, !2}\n!2 = distinct !{!2}\n")
    for word in ("#dbg", "!dbg", "DISubprogram", "no-trapping-math", "someone"):
        assert word not in printed


def test_an_empty_group_goes_and_a_string_that_looks_like_it_stays() -> None:
    text = """@s = constant [5 x i8] c" #0\\0A\\00"
define void @f() #0 {
  call void asm " #0", ""() #0
  ret void
}
attributes #0 = { "no-builtins" }
"""
    printed = llvm.normalised(text.encode()).text
    assert 'c" #0\\0A\\00"' in printed
    assert 'call void asm " #0", ""()\n' in printed
    assert "define void @f() {" in printed


def test_places_come_from_the_debug_info() -> None:
    place = llvm.normalised(DEBUG.encode()).places["sum"]
    assert (place.name, place.file, place.line) == ("sum", "/home/someone/a.c", 7)


def test_normalising_again_changes_nothing() -> None:
    once = llvm.normalised(DEBUG.encode()).text
    assert llvm.normalised(once.encode()).text == once == llvm.checked(once)
    assert llvm.normalised(llvm.bitcode(once)).text == once


def test_an_unnamed_entry_beside_named_blocks() -> None:
    loop = "loop:\n  %x = phi i32 [ %n, %0 ], [ %x, %loop ]\n  br label %loop\n}\n"
    text = f"define i32 @f(i32 %n) {{\n  br label %loop\n\n{loop}"
    assert "phi i32 [ %0, %1 ], [ %3, %2 ]" in llvm.normalised(text.encode()).text


def test_names_of_types_and_addressed_blocks_survive() -> None:
    text = """%pair = type { i32, i32 }
@jump = global ptr blockaddress(@f, %there)
define void @f(ptr %p) {
  %x = getelementptr %pair, ptr %p, i32 0, i32 1
  br label %there
there:
  ret void
}
"""
    assert "%pair = type" in llvm.normalised(text.encode()).text
    assert "blockaddress(@f, %there)" in llvm.normalised(text.encode()).text


def test_attributes_with_strings_of_their_own() -> None:
    text = 'declare ptr @a(i64) #0\nattributes #0 = { allockind("alloc,zeroed") "alloc-family"="x" allocsize(0) }\n'
    printed = llvm.normalised(text.encode()).text
    assert 'allockind("alloc,zeroed")' in printed
    assert "alloc-family" not in printed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"define i32 @f() { ret i32 %x }", "unparsable IR"),
        (
            b"define i32 @f() {\n  %a = add i32 %b, 1\n  %b = add i32 1, 1\n  ret i32 %a\n}",
            "unparsable IR|not verified",
        ),
        (b"BC\xc0\xde" + b"\x00" * 40, "unparsable IR"),
        (b"\xff\xfe define", "wrong encoding"),
        (b"define void @f() {\0}", "unparsable IR"),
    ],
)
def test_bad_ir_is_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(llvm.BadIR) as error:
        llvm.normalised(data)
    assert error.value.reason in reason.split("|")


@given(st.text(max_size=200))
@settings(max_examples=50)
def test_any_text_is_ir_or_a_reason(text: str) -> None:
    try:
        llvm.normalised(text.encode("utf-8", "surrogatepass"))
    except llvm.BadIR:
        return


@given(st.lists(st.sampled_from(["i32 %0", "{ i32, ptr }", '"a,b"', "<4 x i32>", "ptr byval([2 x i8])"]), min_size=1))
def test_commas_inside_brackets_do_not_split(parts: list[str]) -> None:
    text = ", ".join(parts)
    assert [part.strip() for part in split_outermost(text)] == parts
    assert closing(f"({text})", 0) == len(text) + 1


PARTS = ("define void @f() {\n  ret void\n}\n", "declare void @g()\n", "\n", "@x = global i8 0\n")


@given(st.lists(st.sampled_from(PARTS)))
def test_functions_are_every_other_part_of_a_module(parts: list[str]) -> None:
    text = "".join(parts)
    found = split_functions(text)
    assert "".join(found) == text
    assert found[1::2] == [part.rstrip() for part in parts if part.startswith("define")]
    assert not any("define" in part for part in found[::2])


def test_numbering_leaves_strings_alone() -> None:
    text = 'define void @f(i32 %x) {\n  call void asm "mov %x, $0", "r"(i32 %x)\n  ret void\n}\n'
    assert 'asm "mov %x, $0", "r"(i32 %0)' in numbered(text)
