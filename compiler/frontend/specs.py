"""Input specs such as `1x128xi64` or `ids=1x128xi64`, and seeded example inputs for them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from compiler.frontend.model import Array, FrontendError, TensorSpec

NUMPY = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "i1": np.bool_, "i8": np.int8, "ui8": np.uint8,
    "i16": np.int16, "i32": np.int32, "i64": np.int64,
}  # fmt: skip
PATTERN = re.compile(r"(?:(?P<name>[A-Za-z_][\w.]*)=)?(?P<dims>(?:\d+x)*)(?P<dtype>[a-z]+\d+)")


def parse_spec(text: str, position: int = 0) -> TensorSpec:
    """`NAME=2x3xf32` or `2x3xf32` (named input0, input1, ... by position); raises FrontendError otherwise."""
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise FrontendError(f"input spec {text!r} is not like 1x128xi64 or ids=1x128xi64")
    dtype = match["dtype"]
    if dtype not in NUMPY:
        raise FrontendError(f"input spec {text!r}: unknown type {dtype!r}; known: {', '.join(NUMPY)}")
    shape = tuple(int(d) for d in match["dims"].split("x") if d)
    if 0 in shape:
        raise FrontendError(f"input spec {text!r}: a dimension is 0")
    return TensorSpec(match["name"] or f"input{position}", shape, dtype)


def parse_specs(texts: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Specs in order; a repeated name is an error."""
    specs = tuple(parse_spec(t, k) for k, t in enumerate(texts))
    names = [s.name for s in specs]
    for name in names:
        if names.count(name) > 1:
            raise FrontendError(f"input {name!r} is given twice")
    return specs


def examples(specs: Sequence[TensorSpec], integers_below: int = 2, seed: int = 0) -> tuple[Array, ...]:
    """Seeded arrays: normal floats, integers in [0, integers_below), ones for attention masks."""
    generator = np.random.default_rng(seed)
    return tuple(_example(generator, spec, integers_below) for spec in specs)


def _example(generator: np.random.Generator, spec: TensorSpec, below: int) -> Array:
    if spec.dtype not in NUMPY:
        raise FrontendError(f"input {spec.name} is {spec.dtype}, which NumPy lacks: give it another type")
    dtype = NUMPY[spec.dtype]
    if "mask" in spec.name and np.dtype(dtype).kind in "biu":
        return np.ones(spec.shape, dtype)
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(spec.shape).astype(dtype)
    return generator.integers(0, min(below, 127 if np.dtype(dtype).itemsize == 1 else below), spec.shape).astype(dtype)
