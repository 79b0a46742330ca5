"""The table of frontends: for each language the compilers that give LLVM IR, best first.

Levels: O0 as written, O2 for speed, Oz for size. Debug info is only line tables; `ir_corpus.llvm` drops it after the
functions have been found, so it costs no second compilation.
"""

from __future__ import annotations

import ir_corpus.frontends.rules as rules
from ir_corpus.frontends.frontend import Command, Frontend
from ir_corpus.pairs import STAGES

LEVELS = ("O0", "O2", "Oz")
LLVM = 22  # llvmlite's, through which all IR goes
_PATHS = ("-ffile-prefix-map={tree}/=", "-fno-ident")
_EMIT = ("-gline-tables-only", "-w", "-S", "-emit-llvm", "-ferror-limit=1", "-o", "{ir}")
_AFTER = "-idirafter"  # a package's own time.h must not hide the system's
_CLANG_LEVEL = {"O0": ("-O0", "-Xclang", "-disable-O0-optnone"), "O2": ("-O2",), "Oz": ("-Oz",)}
_ZIG_CACHE = {"ZIG_LOCAL_CACHE_DIR": "{out}/zig", "ZIG_GLOBAL_CACHE_DIR": "{out}/zig"}
_OPT_LEVEL = {"O0": (), "O2": ("default<O2>",), "Oz": ("default<Oz>",)}
_OWN, _LLVM = "frontend and its own LLVM", f"LLVM {LLVM}"


def _clang(*command: str, source: str = "{source}") -> dict[str, tuple[Command, ...]]:
    return {level: ((*command, *flags, *_PATHS, "{flags}", *_EMIT, source),) for level, flags in _CLANG_LEVEL.items()}


def _after(first: dict[str, Command], second: dict[str, tuple[Command, ...]]) -> dict[str, tuple[Command, ...]]:
    return {level: (first[level], *commands) for level, commands in second.items()}


def _with_opt(emit: tuple[Command, ...], raw: str) -> dict[str, tuple[Command, ...]]:
    """A frontend that does not optimise LLVM IR itself: LLVM 22's `opt` does, from `raw`."""
    return {
        level: (*emit, ("opt-22", *(f"-passes={name}" for name in passes), "-S", raw, "-o", "{ir}"))
        for level, passes in _OPT_LEVEL.items()
    }


def _levels(before: Command, flags: dict[str, Command], after: Command) -> dict[str, tuple[Command, ...]]:
    return {level: ((*before, *words, *after),) for level, words in flags.items()}


_CLANG22 = "apt install clang-22"
_ZIG = ("{python}", "-P", "-m", "ziglang")  # -P: a `ziglang` folder in the tree must not be imported
_LIBCXX = ("-nostdinc++", "-isystem", "{ziglib}/libcxx/include", "-isystem", "{ziglib}/libcxxabi/include")
_RUST = (
    "rustc",
    "--emit=llvm-ir",
    "-o",
    "{ir}",
    "-Ccodegen-units=1",
    "-Cdebuginfo=1",
    "-Clink-dead-code=yes",
)
_NIM = (
    *("nim", "c", "--cc:clang", "--clang.exe:clang-22", "--clang.linkerexe:clang-22", "-d:release", "--mm:arc"),
    *("--compileOnly", "--lineDir:on", "--hints:off", "--warnings:off", "--skipParentCfg", "--skipProjCfg"),
)
_GHDL = ("/usr/lib/ghdl/llvm/ghdl1-llvm", "-P/usr/lib/ghdl/llvm/vhdl/ieee/v08/", "-P/usr/lib/ghdl/llvm/vhdl/")

FRONTENDS: tuple[Frontend, ...] = (
    Frontend(
        "clang-22", "c", (".c",), ("clang-22",), _CLANG22, _clang("clang-22"), _LLVM,
        ("clang-22", "--version"), rules=rules.c, include_flag=_AFTER, current=True,
    ),
    Frontend(
        "zig-cc", "c", (".c",), ("python:ziglang",), "pip install ziglang==0.17.1",
        _clang(*_ZIG, "cc", "-fno-sanitize=undefined"), _LLVM, (*_ZIG, "version"), rules=rules.c, include_flag=_AFTER,
        environment=_ZIG_CACHE,
    ),
    Frontend(
        "clang++-22", "c++", (".cpp", ".cc", ".cxx", ".C"), ("clang++-22",), _CLANG22, _clang("clang++-22"), _LLVM,
        ("clang-22", "--version"), rules=rules.cxx, include_flag=_AFTER, current=True,
    ),
    Frontend(
        "zig-c++", "c++", (".cpp", ".cc", ".cxx", ".C"), ("python:ziglang",), "pip install ziglang==0.17.1",
        _clang(*_ZIG, "c++", "-fno-sanitize=undefined"), _LLVM, (*_ZIG, "version"), rules=rules.cxx,
        include_flag=_AFTER, environment=_ZIG_CACHE,
    ),
    Frontend(
        "clang-22-objc", "objective-c", (".m",), ("clang-22", "/usr/lib/gcc/x86_64-linux-gnu/12/include/objc"),
        "apt install clang-22 gobjc libobjc-12-dev",
        _clang("clang-22", "-fobjc-runtime=gcc", "-I/usr/lib/gcc/x86_64-linux-gnu/12/include"), _LLVM,
        ("clang-22", "--version"), include_flag=_AFTER, current=True,
    ),
    Frontend(
        "flang-22", "fortran", (".f", ".f90", ".F90", ".f95", ".f03", ".f08", ".F"), ("flang-22",),
        "apt install flang-22",
        _levels(
            ("flang-22", "{flags}", "-w", "-g", "-S", "-emit-llvm", "-J{out}", "-o", "{ir}"),
            {"O0": ("-O0",), "O2": ("-O2",)}, ("{source}",),
        ),
        "flang (HLFIR) and LLVM 22", ("flang-22", "--version"), rules=rules.fortran, include_flag="-I", current=True,
    ),
    Frontend(
        "rustc", "rust", (".rs",), ("rustc",), "apt install rustc, or a toolchain of LLVM 22 or older",
        _levels(
            (*_RUST, "--cap-lints=allow", "--remap-path-prefix={tree}/=", "{flags}"),
            {"O0": ("-Copt-level=0",), "O2": ("-Copt-level=2",), "Oz": ("-Copt-level=z",)}, ("{source}",),
        ),
        "rustc (MIR) and its LLVM", ("rustc", "--version"), rules=rules.rust,
        environment={"RUSTC_BOOTSTRAP": "1"}, states_llvm=("rustc", "--version", "--verbose"),
    ),
    Frontend(
        "ldc2", "d", (".d",), ("ldc2",), "apt install ldc",
        _levels(
            ("ldc2", "--output-ll", "--noasm", "--gline-tables-only", "-c", "-of={ir}", "{flags}"),
            {"O0": ("-O0",), "O2": ("-O2",), "Oz": ("-Oz",)}, ("{source}",),
        ),
        _OWN, ("ldc2", "--version"), include_flag="-I=",
    ),
    Frontend(
        "nim", "nim", (".nim",), ("nim", "clang-22"), "apt install nim clang-22",
        _after(
            {level: (*_NIM, "--nimcache:{out}/nim", "{source}") for level in LEVELS},
            _clang("clang-22", "-I/usr/lib/nim/lib", source="{out}/nim/@m{stem}.nim.c"),
        ),
        _LLVM, ("nim", "--version"), whole_program=True, current=True,
    ),
    Frontend(
        "ghc", "haskell", (".hs",), ("ghc", "opt-14", "llc-14", "opt-22"), "apt install ghc llvm-14 llvm-22",
        {
            level: (
                ("ghc", "-fllvm", "-keep-llvm-files", "-pgmlo", "opt-14", "-pgmlc", "llc-14", "-outputdir", "{out}/ghc",
                 own, "-c", "{flags}", "{out}/{stem}.hs"),
                ("opt-22", *passes, "-S", "{out}/{stem}.ll", "-o", "{ir}"),
            )
            for level, own, passes in (
                ("O0", "-O0", ()), ("O2", "-O2", ("-passes=default<O2>",)), ("Oz", "-O1", ("-passes=default<Oz>",))
            )
        },
        "GHC (Core, STG), then LLVM 22", ("ghc", "--version"), names="symbol",
        in_tree=False, note="the source is copied, since GHC writes the IR beside it", current=True,
    ),
    Frontend(
        "zig", "zig", (".zig",), ("python:ziglang",), "pip install ziglang==0.17.1",
        _levels(
            (*_ZIG, "test", "{source}", "--test-runner", "{runner}", "-fno-strip", "-fno-emit-bin", "-fllvm", "-j1",
             "-femit-llvm-ir={ir}"),
            {"O0": ("-ODebug",), "O2": ("-OReleaseFast",), "Oz": ("-OReleaseSmall",)}, (),
        ),
        "zig (semantic analysis) and LLVM 22", (*_ZIG, "version"), environment=_ZIG_CACHE, whole_program=True,
        revision=1,  # -j1: threads number what has no name in another order each time
        note="compiled as a test, so that what the tests reach is emitted",
    ),
    Frontend(
        "crystal", "crystal", (".cr",), ("crystal", "llvm-as-14"), "apt install crystal llvm-14",
        {
            level: (
                ("crystal", "build", "--emit", "llvm-ir", "--cross-compile", "--target", "x86_64-pc-linux-gnu",
                 "--debug", *flags, "-o", "{out}/program", "{absolute}"),
                ("llvm-as-14", "{out}/{stem}.ll", "-o", "{ir}"),
            )
            for level, flags in {"O0": (), "O2": ("--release",)}.items()
        },
        "crystal and LLVM 14", ("crystal", "--version"), output="out.bc", in_tree=False, whole_program=True,
    ),
    Frontend(
        "numba", "python", (".py",), ("python:numba",), "pip install numba==0.68.1",
        {
            level: (("{python}", "-P", "{harvest}", "{source}", "{ir}", flag),)
            for level, flag in {"O0": "0", "O2": "2"}.items()
        },
        "numba (type inference) and LLVM 22", ("{python}", "-c", "import numba; print(numba.__version__)"),
        names="sidecar", environment={"PYTHONHASHSEED": "0"}, revision=1,  # constants are named by their hash
        whole_program=True, seconds=120,
        note="each function is compiled for the first of a few argument types that numba can infer",
    ),
    Frontend(
        "codon", "python", (".py", ".codon"), ("python:codon_compiler_demo",),
        "pip install codon-compiler-demo==0.18.*",
        {
            level: (("{codon}/bin/codon", "build", flag, "--llvm", "--numerics=py", "{source}", "-o", "{ir}"),)
            for level, flag in {"O0": "-debug", "O2": "-release"}.items()
        },
        "codon and its own LLVM", ("{codon}/bin/codon", "--version"), whole_program=True,
        environment={"CODON_PATH": "{codon}/lib/codon/stdlib"}, default=False,
        note="a Business Source licence covers older releases: read it before output is shared",
    ),
    Frontend(
        "valac", "vala", (".vala",), ("valac", "clang-22"), "apt install valac libglib2.0-dev clang-22",
        _after(
            {level: ("valac", "-C", "--debug", "-d", "{out}/vala", "-b", "{tree}", "{source}") for level in LEVELS},
            _clang(
                "clang-22", "-I/usr/include/glib-2.0", "-I/usr/lib/x86_64-linux-gnu/glib-2.0/include",
                source="{out}/vala/{parent}/{stem}.c",
            ),
        ),
        _LLVM, ("valac", "--version"), names="symbol", current=True,
    ),
    Frontend(
        "ghdl-llvm", "vhdl", (".vhd", ".vhdl"), ("/usr/lib/ghdl/llvm/ghdl1-llvm", "opt-22"),
        "apt install ghdl-llvm llvm-22",
        _with_opt(
            ((*_GHDL, "--std=08", "-fpic", "-g", "--workdir={out}", "--emit-llvm", "-o", "{out}/raw.ll", "{source}"),),
            "{out}/raw.ll",
        ),
        _LLVM, ("ghdl", "--version"), names="none", note="processes are cut into resumable pieces: file pairs only",
        current=True,
    ),
    Frontend(
        "faust", "faust", (".dsp",), ("faust", "opt-22"), "apt install faust llvm-22",
        _with_opt((("setarch", "-R", "faust", "-lang", "llvm", "{source}", "-o", "{out}/raw.bc"),), "{out}/raw.bc"),
        "faust and LLVM 22", ("faust", "--version"), names="none", revision=1,  # -R: labels hold addresses
        note="a program is one function of samples: file pairs only", current=True,
    ),
    Frontend(
        "clang-22-opencl", "opencl", (".cl",), ("clang-22",), _CLANG22,
        _clang("clang-22", "-x", "cl", "-target", "spir64", "-Xclang", "-finclude-default-header"), _LLVM,
        ("clang-22", "--version"), rules=rules.opencl, include_flag=_AFTER, current=True,
    ),
    Frontend(
        "clang-22-cuda", "cuda", (".cu",), ("clang-22",), _CLANG22,
        _clang(
            "clang-22", "-x", "cuda", "-nocudainc", "-nocudalib", "--cuda-device-only", "--cuda-gpu-arch=sm_80",
        ),
        _LLVM, ("clang-22", "--version"), rules=rules.cuda, include_flag=_AFTER,
        note="without NVIDIA's headers: files that declare what they use", current=True,
    ),
    Frontend(
        "mlir-opt-22", "mlir", (".mlir",), ("mlir-opt-22", "mlir-translate-22", "opt-22"),
        "apt install mlir-22-tools llvm-22",
        _with_opt(
            (
                ("mlir-opt-22", "--test-lower-to-llvm", "{source}", "-o", "{out}/llvm.mlir"),
                ("mlir-translate-22", "--mlir-to-llvmir", "{out}/llvm.mlir", "-o", "{out}/raw.ll"),
            ),
            "{out}/raw.ll",
        ),
        _LLVM, ("mlir-opt-22", "--version"), names="symbol", current=True,
    ),
    Frontend(
        "seerc-stages", STAGES, (".linalg", ".loops", ".llvm"), ("mlir-translate-22", "opt-22"),
        "apt install mlir-22-tools llvm-22",
        _with_opt(
            (("mlir-translate-22", "--mlir-to-llvmir", "{stem}.llvm", "-o", "{out}/raw.ll"),), "{out}/raw.ll",
        ),
        "seerc's schedule, then LLVM 22", ("mlir-translate-22", "--version"), names="symbol",
        note="of zoo:NAME: every stage of a kernel with the LLVM IR of its last", current=True,
    ),
    Frontend(
        "mojo", "mojo", (".mojo",), ("mojo",), "pip install mojo-compiler mojo-compiler-mojo-libs",
        {"O2": (("mojo", "build", "--emit", "llvm", "-o", "{ir}", "{source}"),)}, _OWN, ("mojo", "--version"),
        default=False, note="off by default: its licence decides whether output may be shared",
    ),
    Frontend(
        "gollvm", "go", (".go",), ("llvm-goc",), "",
        {level: (("llvm-goc", f"-{level}", "-g", "-S", "-emit-llvm", "-o", "{ir}", "{source}"),) for level in LEVELS},
        _LLVM, ("llvm-goc", "--version"), note="no package has it; Debian's compilers for Go do not use LLVM",
    ),
    Frontend(
        "swiftc", "swift", (".swift",), ("swiftc",), "",
        _levels(
            ("swiftc", "-emit-ir", "-gline-tables-only", "-o", "{ir}"),
            {"O0": ("-Onone",), "O2": ("-O",), "Oz": ("-Osize",)}, ("{source}",),
        ),
        _OWN, ("swiftc", "--version"), note="no package has it",
    ),
    Frontend(
        "julia", "julia", (".jl",), ("julia",), "",
        {
            "O0": (("julia", "--startup-file=no", "-O0", "--output-unopt-bc", "{ir}", "{source}"),),
            "O2": (("julia", "--startup-file=no", "-O2", "--output-bc", "{ir}", "{source}"),),
        },
        _OWN, ("julia", "--version"), output="out.bc", whole_program=True, note="no package has it; never run here",
    ),
)  # fmt: skip
