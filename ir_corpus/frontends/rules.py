"""Flags that a source file asks for by its own text: editions, standards, kinds of crate."""

from __future__ import annotations

import re

_EDITION = re.compile(r"^//@?\s*(?:\[\w+\]\s*)?edition:\s*(\d{4})", re.MULTILINE)
_FEATURE = re.compile(r"^#!\[feature\(", re.MULTILINE)
_RUST_MAIN = re.compile(r"^\s*(?:pub\s+)?(?:async\s+)?fn\s+main\s*\(", re.MULTILINE)
_LIBCXX_STANDARDS = ("c++03", "c++98", "c++11", "c++14", "c++17", "c++20", "c++23", "c++26")
_OLD_STYLE = re.compile(
    r"^\w[\w ]*\([\w, ]*\)\s*\n(?:\s+)?(?:int|char|long|double|float|register|short)\b", re.MULTILINE
)


def rust(source: str) -> tuple[str, ...]:
    """The edition that a rustc test states, else 2021; an executable where there is a `main`, else a library."""
    edition = _EDITION.search(source)
    kind = "bin" if _RUST_MAIN.search(source) else "lib"
    kinds = () if "#![crate_type" in source else ("--crate-type", kind)
    name = () if "#![crate_name" in source else ("--crate-name", "unit")
    return ("--edition", edition[1] if edition else "2021", *kinds, *name)


def c(source: str) -> tuple[str, ...]:
    """GNU C of 1989 for definitions in the style of K&R, which later standards dropped; else GNU C17."""
    return ("-std=gnu89",) if _OLD_STYLE.search(source) else ("-std=gnu17",)


def cxx(source: str) -> tuple[str, ...]:
    """C++23, or the newest standard that a libc++ test's `UNSUPPORTED:` line leaves."""
    line = re.search(r"^// UNSUPPORTED:(.*)$", source, re.MULTILINE)
    refused = set(re.findall(r"c\+\+\d\d", line[1])) if line else set[str]()
    left = [standard for standard in _LIBCXX_STANDARDS if standard not in refused]
    return (f"-std={'c++23' if 'c++23' in left or not left else left[-1]}",)


def fortran(source: str) -> tuple[str, ...]:
    """Preprocessing where the file has directives of the C preprocessor."""
    return ("-cpp",) if re.search(r"^#\s*(?:if|include|define)", source, re.MULTILINE) else ()


def cuda(source: str) -> tuple[str, ...]:
    """CUDA's keywords as macros, which NVIDIA's headers define, where the file brings no header of its own for them."""
    if re.search(r'^#\s*include\s+".*cuda.*\.h"|define\s+__(?:device|global)__', source, re.MULTILINE):
        return ()
    words = ("device", "global", "host", "shared", "constant", "managed")
    return (*(f"-D__{word}__=__attribute__(({word}))" for word in words), "-D__forceinline__=inline")


def opencl(source: str) -> tuple[str, ...]:
    """OpenCL C 3.0 where generic address spaces or 3.0 macros appear, else 2.0."""
    return ("-cl-std=CL3.0",) if "__opencl_c_" in source else ("-cl-std=CL2.0",)
