"""Seconds and memory of compiling: `python tools/bench_compile.py [MODEL...] --json OUT`.

For each zoo model, in a process of its own with an empty cache: import, first compile, second compile (from the
cache), and the peak memory of the process and its children beside the size of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def measure(name: str, cost_model: str) -> dict[str, Any]:
    """Times in seconds, memory in MB; runs in a fresh process."""
    from compiler.driver import CompileOptions, compile_model
    from compiler.frontend.load import load_model

    with tempfile.TemporaryDirectory(prefix="seerc-cache-") as folder:
        os.environ["SEERC_CACHE"] = folder
        begin = time.perf_counter()
        model = load_model(f"zoo:{name}").imported
        imported = time.perf_counter()
        program = compile_model(model, CompileOptions(cost_model=cost_model))
        first = time.perf_counter()
        compile_model(model, CompileOptions(cost_model=cost_model))
        second = time.perf_counter()
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    weights = sum(array.nbytes for array in model.weights.values())
    return {
        "model": name,
        "import_s": imported - begin,
        "first_s": first - imported,
        "second_s": second - first,
        "peak_mb": peak / 1024,
        "weights_mb": weights / 2**20,
        "kernels": len(program.plan["kernels"]),
        "fallbacks": program.plan["fallbacks"],
    }


def main() -> None:
    from compiler.zoo import MODELS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--cost-model", default="default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.models:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows.append(pool.submit(measure, name, options.cost_model).result())
        row = rows[-1]
        print(
            f"{name:20} import {row['import_s']:6.1f} s "
            f" first {row['first_s']:6.1f} s  second {row['second_s']:5.2f} s  "
            f"peak {row['peak_mb']:6.0f} MB  weights {row['weights_mb']:5.0f} MB",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
