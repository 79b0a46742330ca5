"""`--measure`: the program of a plan beside the plain one, compiled and timed; never slower, or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np

from compiler.adapt.continuations import Continuations
from compiler.adapt.lossy_model import apply_to_model
from compiler.adapt.plan import Plan
from compiler.decode.alternate import alternate, decoding
from compiler.decode.build import compile_decoder, planned_options
from compiler.decode.generate import Request, planned_draft
from compiler.decode.source import Source, load_source
from compiler.driver import CompileOptions
from costmodel.errors import SeercError

ROUNDS = 3
PROMPTS = 16


def measured(
    plan: Plan, model: str, prompts: Sequence[Sequence[int]], tokens: int, tell: Callable[[str], None]
) -> Plan:
    """The plan with its measured speed-up (one thread, median of rounds); refused if that is below 1.

    A plan that was refused before is returned as it is: there is nothing to run.

    Args:
        plan: what was decided.
        model: what it was decided for, as `load_source` takes it.
        prompts: tokens of held-out prompts; as many as make whole batches are used.
        tokens: new tokens a prompt.
        tell: is told what is being done.
    """
    if plan.decision == "refuse":
        return plan
    ratio = speedup(plan, load_source(model), load_source(model), prompts, tokens, tell)
    if ratio >= 1:
        return replace(plan, measured_speedup=ratio)
    why = f"measured {ratio:.3f} of the plain program's speed where {plan.predicted_speedup:.3f} was predicted"
    return replace(plan, measured_speedup=ratio, decision="refuse", why=f"{why}; {plan.why}")


def speedup(
    plan: Plan,
    source: Source,
    changed: Source,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    tell: Callable[[str], None],
) -> float:
    """Tokens a second of a plan over those of the plain program; `changed`, a second copy, is changed by it."""
    batches = [prompts[at : at + plan.batch] for at in range(0, len(prompts) - plan.batch + 1, plan.batch)][:PROMPTS]
    if not batches:
        raise SeercError(f"{len(prompts)} held-out prompts make no batch of {plan.batch}: give more with --calibration")
    tell("compiling the plain program")
    options = [planned_options(choice, plan.batch, plan.context) for choice in (None, asdict(plan))]
    plain = compile_decoder(source, options[0], CompileOptions(), tell)
    tell("compiling the plan's program")
    apply_to_model(changed.model, plan)
    decoder = compile_decoder(changed, options[1], CompileOptions(), tell, asdict(plan))
    request = Request(tokens)
    runs = {
        "plain": decoding(plain.decoder(1), request),
        "plan": decoding(decoder.decoder(1), request, planned_draft(asdict(plan))),
    }
    tell(f"timing {len(batches)} batches {ROUNDS} times")
    found = alternate(runs, batches, ROUNDS)
    return float(np.median(found["plan"].ratios(found["plain"])))


def prompts_of(texts: Continuations) -> list[list[int]]:
    """The prompts' tokens."""
    return [text[:start].tolist() for text, start in zip(texts.tokens, texts.starts, strict=True)]
