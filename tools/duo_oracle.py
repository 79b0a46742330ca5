"""How far one choice of FFNs for all tokens is from Duo-LLM's oracle, which chooses for each token.

python tools/duo_oracle.py MODEL [--layers 1-10] [--calibration FILE] [--texts 6] [--tokens 32]
    [--json docs/results/adaptive/duo-oracle.json]

Trains nothing. 2^n programs are run; with ten layers of a model of 30 million parameters that takes minutes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from compiler.adapt.continuations import continue_prompts
from compiler.adapt.duo_oracle import Budget, all_programs, by_budget
from compiler.adapt.oracle import Oracle
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.adapt.stream import ResidualStream
from compiler.decode.source import load_source
from costmodel.files import write_atomically


def main() -> None:
    """Run all programs, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--layers", default="1-10", help="FIRST-LAST of those that may leave out their FFN")
    parser.add_argument("--calibration", type=Path, default=BUILT_IN)
    parser.add_argument("--texts", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    first, last = map(int, args.layers.split("-"))
    layers = tuple(range(first, last + 1))
    source = load_source(args.model)
    texts = continue_prompts(source.model, source.tokenizer, read_prompts(args.calibration)[: args.texts], args.tokens)
    rows = by_budget(all_programs(Oracle(ResidualStream(source.model), texts), layers), layers)
    print(table(rows))
    if args.json:
        facts = {"layers": layers, "texts": args.texts, "tokens": args.tokens, "rows": [asdict(row) for row in rows]}
        write_atomically(args.json, json.dumps(facts, indent=1) + "\n")


def table(rows: list[Budget]) -> str:
    """Markdown."""
    head = ["| FFNs that run | oracle per token | best for all | knapsack | the last ones |", "| --- |" + " --- |" * 4]
    body = [
        f"| {row.big} | {row.per_token:.4f} | {row.best:.4f} | {row.knapsack:.4f} | {row.late:.4f} |" for row in rows
    ]
    return "\n".join(head + body)


if __name__ == "__main__":
    main()
