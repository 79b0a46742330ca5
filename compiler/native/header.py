"""What `--emit so` puts beside NAME.so: NAME.h and NAME_example.c, a C program that runs the model once."""

from __future__ import annotations

import re

from compiler.native.link import EXPORTED
from compiler.native.manifest import NUMPY_NAMES, Manifest, TensorSpec

_C_TYPES = {
    "bool": "uint8_t", "uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "float16": "uint16_t", "bfloat16": "uint16_t", "float32": "float", "float64": "double",
}  # fmt: skip


def c_type(spec: TensorSpec) -> str:
    """The C type of an element; f16 and bf16 are their bits."""
    return _C_TYPES[NUMPY_NAMES[spec.dtype]]


def emit_header(name: str, manifest: Manifest) -> str:
    """The text of NAME.h: the function, the shapes and the sizes in bytes."""
    macro = _identifier(name).upper()
    weights = max((w.offset + w.nbytes for w in manifest.weights), default=0)
    lines = [
        f"/* {name}, compiled by seerc. Needs {' '.join(manifest.isa)}.",
        f"   Link with -Wl,--no-as-needed {name}.so libiomp5.so -lm;",
        f"   read {name}.weights.bin into 64-byte aligned memory. */",
        f"#ifndef SEERC_{macro}_H",
        f"#define SEERC_{macro}_H",
        "#include <stdint.h>",
        "",
        f'#define {macro}_WEIGHTS_FILE "{name}.weights.bin"',
        f"#define {macro}_WEIGHTS_BYTES {weights}",
        f"#define {macro}_WORKSPACE_BYTES {manifest.workspace_bytes} /* 64-byte aligned */",
        f"#define {macro}_INPUTS {len(manifest.inputs)}",
        f"#define {macro}_OUTPUTS {len(manifest.outputs)}",
    ]
    for kind, specs in (("INPUT", manifest.inputs), ("OUTPUT", manifest.outputs)):
        for i, spec in enumerate(specs):
            lines.append(
                f"#define {macro}_{kind}{i}_BYTES {spec.nbytes} /* {_comment(spec.name)}: {c_type(spec)} {spec} */"
            )
    lines += [
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "/* Returns 0. Threads may call it at once, each with its own workspace; omp_set_num_threads sets its own. */",
        f"int32_t {EXPORTED}(const void *weights, const void *const *inputs, void *const *outputs, void *workspace);",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def emit_example(name: str, manifest: Manifest) -> str:
    """The text of a C program: reads the weights (argument 1, else the file named in the header), feeds inputs filled
    with zeros or read from the files named by the next arguments, prints the first elements of every output."""
    macro = _identifier(name).upper()
    prints = "\n".join(_print_output(i, spec) for i, spec in enumerate(manifest.outputs))
    sizes = ", ".join(f"{macro}_INPUT{i}_BYTES" for i in range(len(manifest.inputs))) or "0"
    out_sizes = ", ".join(f"{macro}_OUTPUT{i}_BYTES" for i in range(len(manifest.outputs))) or "0"
    return _EXAMPLE.format(name=name, macro=macro, sizes=sizes, out_sizes=out_sizes, prints=prints, run=EXPORTED)


def _print_output(index: int, spec: TensorSpec) -> str:
    element = c_type(spec)
    count = spec.nbytes // spec.item_bytes
    form, cast = ("%.9g", "double") if element in ("float", "double") else ("%lld", "long long")
    return (
        f'    printf("output {index}:");\n'
        f"    for (long i = 0; i < {min(count, 8)}; ++i)\n"
        f'        printf(" {form}", ({cast})(({element} *)outputs[{index}])[i]);\n'
        '    printf("\\n");'
    )


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _comment(text: str) -> str:
    return text.replace("*/", "* /")


_EXAMPLE = """\
/* Usage: {name}_example [WEIGHTS [INPUT0 INPUT1 ...]], each file raw bytes; absent inputs are zeros. */
#include "{name}.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *memory(size_t bytes) {{
    size_t rounded = (bytes + 127) / 64 * 64;
    void *p = aligned_alloc(64, rounded);
    if (!p) {{ fprintf(stderr, "out of memory\\n"); exit(1); }}
    return memset(p, 0, rounded);
}}

static void fill(void *to, size_t bytes, const char *path) {{
    FILE *file = fopen(path, "rb");
    if (!file || fread(to, 1, bytes, file) != bytes) {{
        fprintf(stderr, "cannot read %zu bytes of %s\\n", bytes, path);
        exit(1);
    }}
    fclose(file);
}}

int main(int argc, char **argv) {{
    const size_t sizes[] = {{{sizes}}}, out_sizes[] = {{{out_sizes}}};
    const void *inputs[{macro}_INPUTS + 1];
    void *outputs[{macro}_OUTPUTS + 1];
    void *weights = memory({macro}_WEIGHTS_BYTES), *workspace = memory({macro}_WORKSPACE_BYTES);
    if ({macro}_WEIGHTS_BYTES) fill(weights, {macro}_WEIGHTS_BYTES, argc > 1 ? argv[1] : {macro}_WEIGHTS_FILE);
    for (int i = 0; i < {macro}_INPUTS; ++i) {{
        void *input = memory(sizes[i]);
        if (argc > i + 2) fill(input, sizes[i], argv[i + 2]);
        inputs[i] = input;
    }}
    for (int i = 0; i < {macro}_OUTPUTS; ++i) outputs[i] = memory(out_sizes[i]);
    int status = {run}(weights, inputs, outputs, workspace);
{prints}
    return status;
}}
"""
