"""From a transformers model to a compiled decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.adapt.plan import Router, read_router
from compiler.decode.export import DecoderOptions, compile_steps
from compiler.decode.folder import CompiledDecoder
from compiler.decode.generate import planned_draft
from compiler.decode.source import Source
from compiler.driver import CompileOptions

PREFILL = 64


def planned_options(plan: Mapping[str, Any] | None, batch: int, context: int) -> DecoderOptions:
    """The steps that a plan of `seerc adapt` needs; without one, or if it refuses, those of plain decoding."""
    prefill, draft = min(PREFILL, context), planned_draft(plan)
    if draft is not None:
        skippable = bool(draft.skip) or not draft.int8
        return DecoderOptions(batch, context, draft.widths, prefill, skippable=skippable, draft_int8=draft.int8)
    if plan is None or plan["decision"] != "apply":
        return DecoderOptions(batch, context, prefill=prefill)
    if plan["method"] == "mod":
        routed = tuple(router.layer for router in planned_routers(plan))
        return DecoderOptions(batch, context, prefill=prefill, routed=routed)
    return DecoderOptions(batch, context, prefill=prefill, removed=plan["skipped"], int8=plan.get("int8", ()))


def planned_routers(plan: Mapping[str, Any] | None) -> tuple[Router, ...]:
    """The routers of a plan that applies, by layer."""
    if plan is None or plan["decision"] != "apply":
        return ()
    return tuple(sorted(map(read_router, plan.get("routers", ())), key=lambda router: router.layer))


def compile_decoder(
    source: Source,
    options: DecoderOptions,
    compile_options: CompileOptions,
    say: Callable[[str], None],
    plan: Mapping[str, Any] | None = None,
) -> CompiledDecoder:
    """All step programs of the model; `plan` is kept with them."""
    programs = compile_steps(source.model, options, compile_options, say, planned_routers(plan))
    return CompiledDecoder(source.name, options, programs, source.tokenizer, source.end_tokens(), plan)
