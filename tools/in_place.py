"""Fits and scores what kernels take inside of programs (costmodel/in_place.py).

    python tools/in_place.py compile build/in-place --count 40     # seeded decoders of random sizes, one step each
    python tools/in_place.py time build/in-place                   # on a quiet machine; resumes
    python tools/in_place.py fit build/in-place                    # writes costmodel/models/in_place.json

Weights of these small models are pushed out of the caches before every run, as those of a large one would be; only the
second of their two layers counts, as the first finds its code cold, too. The error is that of whole sub-blocks, of
programs that the fit has not seen (five folds).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from compiler.adapt.bandwidth import read_bandwidth
from compiler.adapt.predict import placed_calls
from compiler.decode.export import import_step, skippable
from compiler.decode.step_module import StepShape
from compiler.driver import CompileOptions, build_program, lower_model
from compiler.frontend.specs import examples
from compiler.native.huge_pages import on_huge_pages
from compiler.native.program import Program
from compiler.profile import time_calls
from costmodel.files import write_atomically
from costmodel.in_place import DEFAULT, Bandwidth, InPlace, KernelUse, kernel_use, to_json

Timed = tuple[list[KernelUse], list[int | None], list[float]]
"""The calls of a program, their sub-blocks, their nanoseconds."""
EVICTED_BYTES = 400 << 20
FIRST_BLOCK = 2


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("compile", "time", "fit"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40)
    args = parser.parse_args()
    if args.action == "compile":
        for seed in range(args.count):
            compile_one(args.folder / str(seed), seed)
    elif args.action == "time":
        for uses in sorted(args.folder.glob("*/uses.json")):
            time_one(uses.parent)
    else:
        fit_all(sorted(args.folder.glob("*/times.json")))


def compile_one(folder: Path, seed: int) -> None:
    """A step of a seeded decoder, and what is known of each of its calls."""
    import torch
    from transformers import AutoModelForCausalLM

    if (folder / "uses.json").exists():
        return
    draw = random.Random(seed)
    shape = StepShape(draw.choice((1, 1, 4, 8)), draw.choice((1, 2, 4, 8, 16)), draw.choice((64, 512, 2048)))
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(draw_config(draw)).eval()
    step = skippable(import_step(model, shape, f"{model.config.model_type}-{seed}"))
    stages = lower_model(step, CompileOptions())
    build_program(step, stages).save(folder)
    known = {
        key: kernel_use(text, stages.choices[key].predicted["latency_ns"].value)
        for key, text in stages.planned.workloads.items()
    }
    placed = [(call.workload, block) for call, block in placed_calls(stages.planned.steps)]
    write_atomically(folder / "workloads.json", json.dumps(stages.planned.workloads).encode())
    record = {"shape": asdict(shape), "uses": {k: astuple(u) for k, u in known.items()}, "placed": placed}
    write_atomically(folder / "uses.json", json.dumps(record).encode())
    print(folder, step.name, shape, flush=True)


def draw_config(draw: random.Random) -> Any:
    """Two layers of one of five architectures, 256 to 1,024 wide."""
    import transformers as t

    width, heads = draw.choice((256, 384, 512, 768, 1024)), draw.choice((4, 8))
    inner = int(width * draw.choice((8 / 3, 3, 4))) // 16 * 16
    words = draw.choice((1000, 4096, 16384))
    longest = {"max_position_embeddings": 4096, "vocab_size": words, "num_hidden_layers": 2}
    wide = {"hidden_size": width, "num_attention_heads": heads, **longest}
    match draw.choice(("llama", "qwen2", "gpt2", "neox", "opt")):
        case "gpt2":
            return t.GPT2Config(
                n_embd=width, n_head=heads, n_layer=2, n_inner=inner, vocab_size=words, n_positions=4096
            )
        case "opt":
            return t.OPTConfig(ffn_dim=inner, word_embed_proj_dim=width, **wide)
        case "neox":
            return t.GPTNeoXConfig(intermediate_size=inner, **wide)
        case name:
            kind = t.LlamaConfig if name == "llama" else t.Qwen2Config
            return kind(intermediate_size=inner, num_key_value_heads=heads // draw.choice((1, 2, 4)), **wide)


def time_one(folder: Path) -> None:
    """Nanoseconds of every call of one program, weights and caches cold."""
    if (folder / "times.json").exists():
        return
    program = Program.load(folder)
    on_huge_pages([program])
    inputs = examples(program.inputs)
    inputs[1][:], inputs[-1][:] = inputs[2].shape[3] // 2, True
    other = np.ones(EVICTED_BYTES // 8)
    _, nanoseconds = time_calls(program, inputs, 1, 1.0, other.sum)
    write_atomically(folder / "times.json", json.dumps(np.round(nanoseconds).tolist()).encode())
    print(folder, f"{nanoseconds.sum() / 1e6:.2f} ms", flush=True)


def read_one(times: Path) -> Timed:
    record = json.loads((times.parent / "uses.json").read_text())
    uses = [KernelUse(*record["uses"][key]) for key, _ in record["placed"]]
    return uses, [block for _, block in record["placed"]], json.loads(times.read_text())


def fit_all(paths: Sequence[Path]) -> None:
    """The fit on all programs, its error on programs left out."""
    programs, bandwidth = [read_one(path) for path in paths], read_bandwidth()
    errors: list[float] = []
    for fold in range(5):
        fitted = fit([p for i, p in enumerate(programs) if i % 5 != fold], bandwidth)
        errors += [e for i, p in enumerate(programs) if i % 5 == fold for e in block_errors(fitted, p, bandwidth)]
    size = np.abs(errors)
    found = replace(fit(programs, bandwidth), spread=round(float(np.quantile(size, 0.9)), 3))
    write_atomically(DEFAULT, to_json(found).encode())
    print(
        f"{len(programs)} programs, {len(errors)} blocks: median error {np.median(size):.1%}, 90 % {found.spread:.1%}"
    )
    print(found)


def fit(programs: Sequence[Timed], bandwidth: Bandwidth) -> InPlace:
    """Least squares of log times of sub-blocks, robust."""

    def residuals(parameters: Any) -> Any:
        model = InPlace(*np.abs(parameters).tolist())
        return np.concatenate([np.log1p(block_errors(model, program, bandwidth)) for program in programs])

    start = astuple(InPlace())[:-1]
    return InPlace(
        *np.abs(least_squares(residuals, start, loss="soft_l1", f_scale=0.1, x_scale=start).x).round(4).tolist()
    )


def block_errors(model: InPlace, program: Timed, bandwidth: Bandwidth) -> list[float]:
    """Predicted over measured, less one, of each sub-block of the second layer."""
    uses, blocks, times = program
    predicted = model.nanoseconds(uses, bandwidth, EVICTED_BYTES)
    keys = [key for key in dict.fromkeys(blocks) if key is not None and key >= FIRST_BLOCK]
    sums = [
        [sum(t for t, b in zip(source, blocks, strict=True) if b == k) for k in keys] for source in (predicted, times)
    ]
    return (np.array(sums[0]) / np.array(sums[1]) - 1).tolist()


if __name__ == "__main__":
    main()
