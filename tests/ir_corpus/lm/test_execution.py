"""Generated IR is judged in a child: what it computes, and what it may not do."""

from __future__ import annotations

import pytest

from ir_corpus.lm.execution import Verdict, judge

ADD = "define i32 @f(i32 %a, i32 %b) {\n  %c = add i32 %a, %b\n  ret i32 %c\n}\n"
HANG = "define i32 @f(i32 %a, i32 %b) {\n  br label %again\nagain:\n  br label %again\n}\n"
CRASH = "define i32 @f(i32 %a, i32 %b) {\n  store i32 1, ptr null\n  ret i32 %a\n}\n"
OUTSIDE = "declare i32 @getpid()\ndefine i32 @f(i32 %a, i32 %b) {\n  %c = call i32 @getpid()\n  ret i32 %c\n}\n"
HALF = "define float @f(float %x) {\n  %y = fmul float %x, 5.000000e-01\n  ret float %y\n}\n"


@pytest.mark.parametrize(
    ("candidate", "equal"),
    [
        (ADD.replace("%a, %b\n", "%b, %a\n"), True),
        (ADD.replace("add", "sub"), False),
        (ADD.replace("@f", "@g"), False),
        (CRASH, False),
        (OUTSIDE, False),
    ],
)
def test_programs_are_equal_where_they_return_the_same(candidate: str, equal: bool) -> None:
    assert judge(candidate, ADD) == Verdict(True, True, equal)


def test_floats_are_compared() -> None:
    assert judge(HALF.replace("fmul", "fdiv").replace("5.000000e-01", "2.000000e+00"), HALF).runs_equal
    assert not judge(HALF.replace("5.000000e-01", "5.000001e-01"), HALF).runs_equal


@pytest.mark.parametrize("text", ["", "nonsense", "declare void @f()", ADD.replace("%c\n", "%d\n")])
def test_what_defines_no_function_does_not_parse(text: str) -> None:
    assert judge(text, ADD) == Verdict(False, False, False)


@pytest.mark.parametrize("reference", [OUTSIDE, CRASH, "define void @f(ptr %x) {\n  ret void\n}\n"])
def test_a_reference_that_cannot_be_run_is_no_test(reference: str) -> None:
    assert judge(ADD, reference).runs_equal is None


@pytest.mark.slow  # waits for the time limit
def test_a_program_that_hangs_is_not_equal() -> None:
    assert judge(HANG, ADD) == Verdict(True, True, False)
