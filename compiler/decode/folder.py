"""A compiled decoder on disk: its step programs, which share one weights file, its tokenizer, and what it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compiler.decode.decoder import Decoder
from compiler.decode.export import MASK, DecoderOptions
from compiler.decode.generate import Draft, planned_draft
from compiler.decode.routed_decoder import RoutedDecoder
from compiler.decode.source import load_tokenizer
from compiler.decode.step_module import StepShape
from compiler.native.buckets import copy_program
from compiler.native.huge_pages import on_huge_pages
from compiler.native.program import Program, save_folder
from costmodel.errors import SeercError

NAME = "decoder.json"
FORMAT = 2
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class CompiledDecoder:
    """Step programs by width (prefill last) with their options; `plan` is what `seerc adapt` decided, if anything."""

    name: str
    options: DecoderOptions
    programs: Sequence[Program]
    tokenizer: Any = None
    end: tuple[int, ...] = ()
    plan: Mapping[str, Any] | None = None

    def decoder(self, threads: int | None = None) -> Decoder:
        """A decoder with caches of its own; the first one moves the weights onto huge pages."""
        on_huge_pages(self.programs)
        if self.options.routed:
            return RoutedDecoder(self.programs, self.options.routed, threads)
        return Decoder(self.programs, threads, self.options.draft)

    def with_plan(self, plan: Mapping[str, Any]) -> CompiledDecoder:
        """The same programs for another plan; SeercError if they were not compiled for what it says."""
        given, own = _plain(plan), _plain(self.plan)
        if (_is_lossy(given) or _is_lossy(own)) and given != own:
            method = (given if _is_lossy(given) else own)["method"]
            raise SeercError(
                f"{self.name} was compiled for another plan, and a {method} plan is a program of its own: "
                "give the model with --plan"
            )
        draft, widths = planned_draft(given), self.options.widths
        missing = [width for width in draft.widths if width not in widths] if draft else []
        if draft is not None and (missing or not self._drafts(draft)):
            raise SeercError(
                f"{self.name} was not compiled for the plan, whose drafts of {draft.length} tokens need a step of "
                f"width {(missing or draft.widths)[0]} (it has {', '.join(map(str, widths))}) and skippable "
                f"sub-blocks{' in 8 bits' if draft.int8 else ''}: give the model with --plan"
            )
        return replace(self, plan=given)

    def _drafts(self, draft: Draft) -> bool:
        """Whether the step that drafts is the one that a draft needs."""
        skips = self.options.skippable or (draft.int8 and not draft.skip)
        return skips and draft.int8 == self.options.draft_int8

    def save(self, folder: Path | str) -> None:
        """Write the folder, whole or not at all; an older decoder there is replaced."""

        def write(made: Path) -> None:
            written: list[tuple[Program, Path]] = []
            for index, program in enumerate(self.programs):
                copy_program(program, made / f"step-{index}", written)
                written.append((program, made / f"step-{index}"))
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(made / TOKENIZER)
            record = {"format": FORMAT, "name": self.name, "options": asdict(self.options), "end": self.end}
            (made / NAME).write_text(json.dumps({**record, "plan": self.plan}) + "\n")

        save_folder(Path(folder), write, NAME)


def _plain(plan: Mapping[str, Any] | None) -> Any:
    """As it is read back from JSON."""
    return json.loads(json.dumps(plan))


def _is_lossy(plan: Mapping[str, Any] | None) -> bool:
    return plan is not None and plan.get("method") in ("static", "mod") and plan.get("decision") == "apply"


def load_decoder(folder: Path | str) -> CompiledDecoder:
    """What `save` wrote; SeercError if it is damaged or made for another CPU."""
    folder = Path(folder)
    try:
        record = json.loads((folder / NAME).read_text())
        fields: dict[str, Any] = record["options"]
        options = DecoderOptions(**fields)
        made = CompiledDecoder(str(record["name"]), options, (), None, tuple(map(int, record["end"])), record["plan"])
        version = record["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeercError(f"{folder} is not a compiled decoder: cannot read {NAME}: {error}") from error
    if version != FORMAT:
        raise SeercError(f"{folder} has decoder format {version}, this seerc reads {FORMAT}: compile the model again")
    shapes = enumerate(options.shapes())
    masked = [options.skippable and i == options.draft for i, _ in enumerate(options.shapes())]
    programs = [_step(folder / f"step-{i}", shape, masked[i], len(options.routed)) for i, shape in shapes]
    tokenizer = load_tokenizer(folder / TOKENIZER) if (folder / TOKENIZER).is_dir() else None
    return replace(made, programs=programs, tokenizer=tokenizer)


def _step(folder: Path, shape: StepShape, masked: bool, routed: int) -> Program:
    """The step program in `folder`, which must be one for `shape`, with or without a mask and routed layers."""
    program = Program.load(folder)
    ids, *found = [spec.shape for spec in program.inputs[: 4 + routed]]
    lengths, values = found[: 1 + routed], found[-1]
    whole = len(found) == 3 + routed and len(values) == 4 and ids == (shape.batch, shape.width)
    whole &= all(length == (shape.batch,) for length in lengths)
    if not whole or values[2] != shape.context or masked != (program.inputs[-1].name == MASK):
        raise SeercError(f"{folder} holds another program than {NAME} says: compile the model again")
    return program


def is_decoder(folder: Path | str) -> bool:
    """Whether the folder holds a compiled decoder."""
    return (Path(folder) / NAME).is_file()
