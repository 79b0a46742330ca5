"""What is known of single packages: which folders hold files that stand alone, and the flags that they need.

A package without a recipe is walked whole, with every folder that holds headers on the include path.
"""

from __future__ import annotations

from dataclasses import dataclass

_MUSL = "ziglang/lib/libc/musl"

_LIBCXX_CONFIGURATION = (  # what `zig c++` defines for the libc++ that it carries
    "ABI_NAMESPACE=__1", "ABI_VERSION=1", "ASSERTION_SEMANTIC_DEFAULT=_LIBCPP_ASSERTION_SEMANTIC_IGNORE",
    "HARDENING_MODE=_LIBCPP_HARDENING_MODE_NONE", "HAS_FILESYSTEM=1", "HAS_LOCALIZATION", "HAS_MONOTONIC_CLOCK",
    "HAS_MUSL_LIBC=0", "HAS_NO_STD_MODULES", "HAS_RANDOM_DEVICE", "HAS_TERMINAL", "HAS_THREADS=1",
    "HAS_TIME_ZONE_DATABASE", "HAS_UNICODE", "HAS_VENDOR_AVAILABILITY_ANNOTATIONS=0", "HAS_WIDE_CHARACTERS",
    "PSTL_BACKEND_SERIAL", "DISABLE_VISIBILITY_ANNOTATIONS",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One folder of a package for some languages (empty: all), without some paths; flags are relative to the root.

    `-I` with a wildcard stands for all folders that it fits.
    """

    folder: str
    languages: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    without: str = ""


RECIPES: dict[str, tuple[Recipe, ...]] = {
    "pypi:ziglang": (
        Recipe(
            f"{_MUSL}/src", ("c",),
            (
                "-std=c99", "-nostdinc", "-ffreestanding", "-D_XOPEN_SOURCE=700", f"-I{_MUSL}/arch/x86_64",
                f"-I{_MUSL}/arch/generic", f"-I{_MUSL}/src/include", f"-I{_MUSL}/src/internal", f"-I{_MUSL}/include",
                "-Iziglang/lib/libc/include/x86_64-linux-musl", "-Iziglang/lib/libc/include/generic-musl",
            ),
        ),
        Recipe("ziglang/lib/std", ("zig",)),
    ),
    "debian:edk2": (
        Recipe(
            "", ("c",),
            (
                "-std=gnu17", "-fshort-wchar", "-include", "MdePkg/Include/PiDxe.h",
                "-IMdePkg/Include", "-IMdePkg/Include/X64", "-IMdeModulePkg/Include",
                "-I*Pkg/Include", "-I*Pkg/*/Include", "-I*Pkg/*/*/Include",
            ),
            without="/A[Aa]rch64/|/Arm/|^Arm|/RiscV|/LoongArch|/Ia32/|BaseTools/|EmulatorPkg/|/UnitTest|/OpensslLib",
        ),
    ),
    "debian:boost1.74": (
        Recipe("libs", ("c++",), ("-Ilibs/*/include", "-Ilibs/numeric/*/include")),
    ),
    "debian:python3.11": (Recipe("", ("c",)),),
    "debian:lapack": (Recipe("", ("fortran",)),),
    "debian:ldc": (
        Recipe("runtime/phobos/std", ("d",), ("-I=runtime/phobos",)),
        Recipe("runtime/druntime/src", ("d",), ("-I=runtime/druntime/src",)),
        Recipe("tests/d2/dmd-testsuite/runnable", ("d",)),
        Recipe("tests/d2/dmd-testsuite/compilable", ("d",)),
        Recipe("tests/dmd/runnable", ("d",)),
        Recipe("tests/dmd/compilable", ("d",)),
    ),
    "debian:nim": (Recipe("tests", ("nim",)), Recipe("lib", ("nim",))),
    "debian:rustc": (
        Recipe("src/test/ui", ("rust",), without="/auxiliary/|/parser/"), Recipe("library/core/benches", ("rust",)),
        *(Recipe(f"src/test/{folder}", ("rust",)) for folder in (
            "mir-opt", "codegen", "incremental", "debuginfo", "assembly", "run-pass-valgrind", "rustdoc",
        )),
        Recipe("src/tools/clippy/tests/ui", ("rust",)),
    ),
    "debian:ghc": (
        Recipe(
            "testsuite/tests", ("haskell",),
            without="fail|/driver/|/ghci|/plugins/|/backpack/|/cabal/|/th/|/quotes/",
        ),
        Recipe("libraries/base/tests", ("haskell",)), Recipe("libraries/containers", ("haskell",)),
    ),
    "debian:llvm-toolchain-19": (
        Recipe(
            "libcxx/test/std", ("c++",),
            (
                "-nostdinc++", "-isystem", "{ziglib}/libcxx/include", "-isystem", "{ziglib}/libcxxabi/include",
                *(f"-D_LIBCPP_{name}" for name in _LIBCXX_CONFIGURATION),
                "-Ilibcxx/test/support",
            ),
        ),
        Recipe("clang/test/CodeGen", ("c",)), Recipe("clang/test/Sema", ("c",)), Recipe("clang/test/C", ("c",)),
        Recipe("clang/test/CodeGenCXX", ("c++",)), Recipe("clang/test/SemaCXX", ("c++",)),
        Recipe("clang/test/CXX", ("c++",)), Recipe("clang/test/SemaTemplate", ("c++",)),
        Recipe("clang/test/CodeGenObjC", ("objective-c",)), Recipe("clang/test/SemaObjC", ("objective-c",)),
        Recipe("clang/test/CodeGenOpenCL", ("opencl",)), Recipe("clang/test/SemaOpenCL", ("opencl",)),
        Recipe("libclc/generic/lib", ("opencl",), ("-Ilibclc/generic/include", "-Ilibclc/generic/lib")),
        Recipe("clang/test/CodeGenCUDA", ("cuda",)), Recipe("clang/test/SemaCUDA", ("cuda",)),
        Recipe("flang/test", ("fortran",)), Recipe("mlir/test", ("mlir",)),
        Recipe("compiler-rt/lib/builtins", ("c",)), Recipe("libcxx/src", ("c++",)),
        Recipe("polly/lib/External/isl", ("c",)),
        *(Recipe(f"clang/test/{folder}", ("c", "c++", "objective-c")) for folder in (
            "Analysis", "AST", "Parser", "PCH", "CoverageMapping", "Profile", "Index", "Frontend",
        )),
        Recipe("clang/test/OpenMP", ("c", "c++"), ("-fopenmp",)),
        Recipe("lldb/test", ("c", "c++", "objective-c")), Recipe("cross-project-tests", ("c", "c++")),
        Recipe("compiler-rt/test", ("c", "c++"), ("-Icompiler-rt/include", "-Icompiler-rt/lib/builtins")),
        Recipe("compiler-rt/lib", ("c", "c++"), ("-Icompiler-rt/include", "-Icompiler-rt/lib")),
        Recipe("libc/src", ("c++",), ("-Ilibc", "-DLIBC_NAMESPACE=__llvm_libc", "-std=c++17")),
        Recipe("clang-tools-extra/test", ("c", "c++")), Recipe("bolt/test", ("c", "c++")),
    ),
}  # fmt: skip
