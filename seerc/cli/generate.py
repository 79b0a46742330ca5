"""generate text with a decoder, plainly or with a draft that is verified

seerc generate zoo:smollm2 --prompt "The compiler reads" --max-tokens 64 -o build/smollm2
seerc generate build/smollm2 --prompt "Once upon a time" --temperature 0.8 --top-p 0.9 --seed 1
seerc generate build/model --plan plan.json --prompt-file prompts.txt --verify

A model is compiled first, for as many sequences as there are prompts; -o saves the decoder with its plan and tokenizer,
so that the next run starts at once. A plan of `seerc adapt --method skip` drafts tokens without some sub-blocks and
verifies them: greedy text stays the same, sampled text keeps its distribution. One of `--method static` or `mod` is
another, lossy program, which --verify compares with the same changes to the model in transformers. Several prompts are
decoded together and printed line by line with the number of the prompt.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import SeercError
from seerc.cli.output import add_json_flag, progress, read_text, report
from seerc.cli.streams import Printer

if TYPE_CHECKING:
    from compiler.adapt.plan import Plan
    from compiler.decode.check import Difference
    from compiler.decode.folder import CompiledDecoder
    from compiler.decode.generate import Request, Statistics
    from compiler.decode.text import TextStream

CONTEXT = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL or PROGRAM, the prompts, how to choose tokens, how to decode."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that -o wrote, zoo:smollm2, or a local Hugging Face folder")
    add("--prompt", nargs="+", action="extend", default=[], metavar="TEXT", help="what to go on from; several: a batch")
    add("--prompt-file", type=Path, metavar="FILE", help="more prompts, one a line")
    add("--chat", action="store_true", help="each prompt is the user's turn in the tokenizer's chat template")
    add("--max-tokens", type=_positive, default=64, metavar="N", help="new tokens a prompt at most (default: 64)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0, the default, takes the likeliest token")
    add("--top-k", type=int, default=0, metavar="K", help="sample among the K likeliest tokens only")
    add("--top-p", type=float, default=1.0, metavar="P", help="sample among the likeliest tokens that sum to P only")
    add("--seed", type=int, default=0, metavar="S", help="of the sampling (default: 0)")
    add("--context", type=_positive, metavar="T", help=f"tokens that the cache holds a sequence (default: {CONTEXT})")
    add("--plan", type=Path, metavar="PLAN.json", help="what `seerc adapt` decided")
    add("--threads", type=_positive, metavar="N", help="default: OMP_NUM_THREADS, or one a CPU")
    add("-o", dest="output", type=Path, metavar="FOLDER", help="save the compiled decoder there")
    add("--verify", action="store_true", help="compare with transformers' greedy text; exit code 3 if it differs")
    add_json_flag(parser)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def run(args: argparse.Namespace) -> int:
    """Load or compile, generate, compare, report."""
    from compiler.decode.generate import Request
    from compiler.decode.sampling import Sampling

    _check(args)
    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    texts, plan = _texts(args), _plan(args.plan)
    job = _load(args, texts, plan) if _is_program(args) else _compile(args, texts, plan)
    if args.output is not None:
        job.compiled.save(args.output)
    request = Request(args.max_tokens, job.compiled.end, sampling)
    result = _generate(args, job, request)
    found = _differences(job, result, request) if args.verify else []
    _report(args, texts, job, result, found)
    return 3 if any(not difference.tie for difference in found) else 0


def _is_program(args: argparse.Namespace) -> bool:
    from compiler.decode.folder import is_decoder

    return is_decoder(args.model)


def _check(args: argparse.Namespace) -> None:
    """What argparse cannot say."""
    if args.verify and args.temperature > 0:
        raise SeercError("--verify compares greedy text: leave --temperature out")
    if args.temperature == 0 and (args.top_k or args.top_p < 1):
        raise SeercError("--top-k and --top-p shape sampled text: give --temperature above 0")
    if _is_program(args) and args.verify:
        raise SeercError("--verify compares with the model: give the model in place of the compiled decoder")
    if _is_program(args) and args.context is not None:
        raise SeercError("--context is decided when a model is compiled: give the model in place of the decoder")


def _texts(args: argparse.Namespace) -> list[str]:
    lines = [] if args.prompt_file is None else [line for line in read_text(args.prompt_file).splitlines() if line]
    if not args.prompt and not lines:
        raise SeercError("no prompt: give --prompt TEXT, or --prompt-file FILE with one a line")
    return [*args.prompt, *lines]


def _plan(path: Path | None) -> Plan | None:
    from compiler.adapt.plan import read_plan

    return None if path is None else read_plan(path)


@dataclass(frozen=True)
class _Job:
    """The decoder, the tokens of each prompt, and the transformers model where it is at hand."""

    compiled: CompiledDecoder
    prompts: Sequence[Sequence[int]]
    model: Any = None


def _load(args: argparse.Namespace, texts: Sequence[str], plan: Plan | None) -> _Job:
    """A saved decoder; `plan` takes the place of its own."""
    from compiler.decode.folder import load_decoder
    from compiler.decode.text import encode

    compiled = load_decoder(args.model)
    compiled = compiled if plan is None else compiled.with_plan(asdict(plan))
    options = compiled.options
    if len(texts) != options.batch:
        raise SeercError(f"{args.model} decodes {options.batch} prompts together, got {len(texts)}")
    prompts = encode(compiled.tokenizer, texts, args.chat)
    _check_room(prompts, args.max_tokens, options.context)
    return _Job(compiled, prompts)


def _compile(args: argparse.Namespace, texts: Sequence[str], plan: Plan | None) -> _Job:
    """The model compiled for these prompts and the plan."""
    from compiler.adapt.lossy_model import apply_to_model
    from compiler.decode.build import compile_decoder, planned_options
    from compiler.decode.source import load_source
    from compiler.decode.text import encode
    from compiler.driver import CompileOptions

    with progress(f"loading {args.model}") as say:
        source, context = load_source(args.model), args.context or CONTEXT
        options = planned_options(plan and asdict(plan), len(texts), context)
        prompts = encode(source.tokenizer, texts, args.chat)
        _check_room(prompts, args.max_tokens, context)
        if plan is not None and plan.decision == "apply":
            apply_to_model(source.model, plan)
        compiled = compile_decoder(source, options, CompileOptions(), say, plan and asdict(plan))
        return _Job(compiled, prompts, source.model)


def _check_room(prompts: Sequence[Sequence[int]], new: int, context: int) -> None:
    longest = max(map(len, prompts))
    need = longest - 1 + new  # the last new token is not cached
    if need > context:
        raise SeercError(
            f"a prompt of {longest} tokens and {new} new ones need a context of {need}, the cache holds {context}: "
            "compile with a larger --context, or lower --max-tokens"
        )


@dataclass
class _Result:
    """What was generated, and how long prefill and decoding took."""

    streams: list[TextStream]
    tokens: list[list[int]]
    prefill_s: float
    decode_s: float
    statistics: Statistics


def _generate(args: argparse.Namespace, job: _Job, request: Request) -> _Result:
    """Generate, and print as tokens arrive; the times are those of decoding alone."""
    from compiler.decode.generate import Statistics, generate, planned_draft
    from compiler.decode.text import TextStream

    compiled, draft = job.compiled, planned_draft(job.compiled.plan)
    statistics, streams = Statistics(), [TextStream(compiled.tokenizer, prompt) for prompt in job.prompts]
    printer = Printer(None if args.json else args.out, len(streams))
    tokens: list[list[int]] = [[] for _ in streams]
    parts = generate(compiled.decoder(args.threads), job.prompts, request, draft, statistics)
    seconds, begin = 0.0, time.perf_counter()
    for part in parts:
        seconds += time.perf_counter() - begin
        for index, new in enumerate(part):
            tokens[index] += new
            printer.write(index, streams[index].add(new) if new else "")
        begin = time.perf_counter()
    for index, stream in enumerate(streams):
        printer.write(index, stream.finish())
    printer.close()
    return _Result(streams, tokens, statistics.prefill_s, seconds - statistics.prefill_s, statistics)


def _differences(job: _Job, result: _Result, request: Request) -> list[Difference]:
    from compiler.adapt.lossy_model import silenced
    from compiler.decode.build import planned_routers
    from compiler.decode.check import differences

    options, routers = job.compiled.options, planned_routers(job.compiled.plan)
    with progress("comparing with transformers"), silenced(job.model, options.removed):
        return differences(job.model, job.prompts, result.tokens, request, routers, options.context)


def _report(
    args: argparse.Namespace, texts: Sequence[str], job: _Job, result: _Result, found: Sequence[Difference]
) -> None:
    statistics, cached = result.statistics, sum(len(prompt) - 1 for prompt in job.prompts)
    drafts = statistics.rounds > 0
    data: dict[str, Any] = {
        "model": job.compiled.name,
        "prompts": [
            {"prompt": text, "text": stream.text, "tokens": tokens}
            for text, stream, tokens in zip(texts, result.streams, result.tokens, strict=True)
        ],
        "tokens_per_s": sum(map(len, result.tokens)) / result.decode_s,
        "prefill_tokens_per_s": cached / result.prefill_s if cached else None,
        "acceptance": statistics.acceptance if drafts else None,
        "rounds": statistics.rounds,
        "verified": args.verify,
        "differences": [{**asdict(difference), "tie": difference.tie} for difference in found],
    }
    report(args, data)
    for line in _summary(job, data, found):
        print(line, file=sys.stderr)


def _summary(job: _Job, data: Mapping[str, Any], found: Sequence[Difference]) -> list[str]:
    prefill, plan = data["prefill_tokens_per_s"], job.compiled.plan
    lines = [f"{data['tokens_per_s']:.1f} tokens/s" + (f", prefill {prefill:.1f} tokens/s" if prefill else "")]
    if data["rounds"]:
        lines.append(f"acceptance {data['acceptance']:.3f} in {data['rounds']} rounds of draft and verification")
    elif plan is not None and plan["decision"] == "refuse":
        lines.append(f"the plan refuses, so no draft: {plan.get('why', 'no reason given')}")
    elif plan is not None and plan["method"] in ("static", "mod"):
        lines.append(f"the plan's program is lossy: {plan.get('why', 'no numbers given')}")
    if data["verified"] and not found:
        lines.append("the text is that of transformers, token by token")
    return lines + [_words(difference) for difference in found]


def _words(found: Difference) -> str:
    where = f"prompt {found.prompt + 1} differs from transformers at new token {found.token + 1}"
    if found.gap is None:
        return f"{where}: one text is shorter"
    return f"{where}: logits {found.gap:.1e} apart" + (", a tie by rounding" if found.tie else "")
