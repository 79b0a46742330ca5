"""Writes the tables of docs/performance.md from the files in docs/results: `python tools/write_performance.py`.

Between the markers `<!-- NAME -->` and `<!-- end -->` everything is replaced; the prose around them is written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import geometric_mean
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "docs" / "results"
PEERS = ("eager", "compile", "none")


def zoo_table(file: str) -> str:
    """One row a model of `seerc bench`, and the geometric means of the ratios."""
    models = [json.loads(line)["result"] for line in (RESULTS / file).read_text().splitlines()]
    head = ["model", "seerc ms", "eager ms", "ratio", "torch.compile ms", "ratio", "none: ratio", "error", "fallbacks"]
    rows = [[*_cells(model), f"{model['max_rel_err']:.0e}", str(model["fallbacks"])] for model in models]
    means = [_mean(models, peer) for peer in PEERS]
    rows.append(["**geometric mean**", "", "", means[0], "", means[1], means[2], "", ""])
    return _table(head, rows)


def _cells(model: dict[str, Any]) -> list[str]:
    peers = model["peers"]
    cells = [model["model"] + ("*" if model["noisy"] else ""), f"{model['seerc_ms']:.2f}"]
    for peer in PEERS:
        found = peers.get(peer)
        ratio = f"{found['ratio']:.2f}" if found else "-"
        cells += [ratio] if peer == "none" else [f"{found['ms']:.2f}" if found else "-", ratio]
    return cells


def _mean(models: list[dict[str, Any]], peer: str) -> str:
    ratios = [m["peers"][peer]["ratio"] for m in models if peer in m["peers"]]
    return f"**{geometric_mean(ratios):.2f}**" if ratios else "-"


def gemm_table() -> str:
    """One row a shape of tools/bench_gemm.py."""
    found = json.loads((RESULTS / "gemm.json").read_text())
    rows = [
        [
            name,
            "x".join(map(str, r["shape"])),
            f"{r['seerc_gflops']:.0f}",
            f"{r['torch_gflops']:.0f}",
            f"{r['ratio']:.2f}",
        ]
        for name, r in found["shapes"].items()
    ]
    rows.append(["**geometric mean without the square one**", "", "", "", f"**{found['geomean']:.2f}**"])
    return _table(["shape", "M x N x K", "seerc GFLOP/s", "torch.mm GFLOP/s", "ratio"], rows)


def compile_table() -> str:
    """One row a model of tools/bench_compile.py."""
    rows = [
        [
            r["model"], f"{r['import_s']:.1f}", f"{r['first_s']:.1f}", f"{r['second_s']:.2f}", f"{r['peak_mb']:.0f}",
            f"{r['weights_mb']:.0f}", str(r["kernels"]), str(r["fallbacks"]),
        ]
        for r in json.loads((RESULTS / "compile.json").read_text())
    ]  # fmt: skip
    head = ["model", "import s", "first compile s", "second s", "peak MB", "weights MB", "kernels", "fallbacks"]
    return _table(head, rows)


def cost_models_table() -> str:
    """One row a model of `seerc bench` with cost models as peers."""
    models = [json.loads(line)["result"] for line in (RESULTS / "zoo-cost-models.jsonl").read_text().splitlines()]
    peers = ("eager", "none", "issue2-default")
    rows = [
        [
            m["model"] + ("*" if m["noisy"] else ""),
            f"{m['seerc_ms']:.2f}",
            *(f"{m['peers'][p]['ratio']:.2f}" for p in peers),
        ]
        for m in models
    ]
    rows.append(["**geometric mean**", "", *(_mean(models, p) for p in peers)])
    return _table(["model", "seerc ms", "eager: ratio", "none: ratio", "forerunner: ratio"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES = {
    "zoo-1": lambda: zoo_table("zoo-1.jsonl"),
    "zoo-2": lambda: zoo_table("zoo-2.jsonl"),
    "gemm": gemm_table,
    "compile": compile_table,
    "cost-models": cost_models_table,
}


def main() -> None:
    text = PAGE.read_text()
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda m, make=make: m.group(1) + make() + "\n" + m.group(2), text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
