"""language models on source and IR: train, eval, sample

seerc lm train build/corpus -o build/lm
seerc lm eval build/lm --data build/corpus
seerc lm sample build/lm --prompt function.c
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError, unknown_name
from seerc.cli.output import add_json_flag, read_text, report, table

ARMS = ("paired", "source", "unpaired", "mispaired", "more-source")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each job."""
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    train = jobs.add_parser("train", help="train a model on a corpus; resumes")
    train.add_argument("corpus", type=Path, metavar="CORPUS", help="a folder that `seerc corpus build` wrote")
    train.add_argument("-o", dest="output", type=Path, metavar="FOLDER", required=True, help="where the model goes")
    train.add_argument(
        "--model", default="tiny", metavar="M", help="tiny, small, or a Hugging Face folder or .gguf file to go on from"
    )
    train.add_argument("--tokens", type=int, default=500_000, metavar="N", help="to train on (default: 500000)")
    train.add_argument("--minutes", type=float, default=5.0, metavar="M", help="at most; 0: no limit (default: 5)")
    train.add_argument("--arm", default="paired", metavar="A", help=f"{', '.join(ARMS)} (docs/lm.md)")
    train.add_argument("--tokenizer", default="ir", metavar="T", help="ir or bpe, for a model from scratch")
    train.add_argument("--batch", type=int, default=1, metavar="N", help="windows a step (default: 1)")
    train.add_argument("--window", type=int, default=512, metavar="N", help="tokens that it sees (default: 512)")
    train.add_argument("--lr", type=float, metavar="X", help="peak learning rate")
    train.add_argument("--lora", type=int, default=0, metavar="R", help="train adapters of rank R, not all weights")
    train.add_argument("--spam", action="store_true", help="clip spikes and reset momentum (arXiv 2501.06842)")
    train.add_argument("--temperature", type=float, default=1.5, metavar="T", help="languages even out above 1")
    train.add_argument("--threads", type=int, default=1, metavar="N", help="of the CPU (default: 1)")
    train.add_argument("--seed", type=int, default=0, metavar="S", help="of weights and order (default: 0)")
    train.set_defaults(job_run=_train)
    evaluate = jobs.add_parser("eval", help="bits per byte, renaming, retrieval and generated IR, on held-out pairs")
    evaluate.add_argument("model", type=Path, metavar="FOLDER", help="a folder that `seerc lm train` wrote")
    evaluate.add_argument("--data", type=Path, metavar="CORPUS", required=True, help="whose split is scored")
    evaluate.add_argument("--split", default="test", metavar="NAME", help="test (default), valid or train")
    evaluate.add_argument("--pairs", type=int, default=48, metavar="N", help="of each language (default: 48)")
    evaluate.add_argument("--generate", type=int, default=16, metavar="N", help="IR to write (default: 16)")
    evaluate.set_defaults(job_run=_evaluate)
    sample = jobs.add_parser("sample", help="continue a text, or write the IR of a source")
    sample.add_argument("model", type=Path, metavar="FOLDER", help="a folder that `seerc lm train` wrote")
    sample.add_argument("--prompt", type=Path, metavar="FILE", required=True, help="source or IR")
    sample.add_argument("--to", default="ir", metavar="WHAT", help="ir (default), source, or more of the same")
    sample.add_argument("--tokens", type=int, default=256, metavar="N", help="at most (default: 256)")
    sample.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0: the likeliest (default)")
    sample.add_argument("--seed", type=int, default=0, metavar="S", help="where the temperature is above 0")
    sample.set_defaults(job_run=_sample)
    for job in (train, evaluate, sample):
        add_json_flag(job)


def run(args: argparse.Namespace) -> int:
    """Run the chosen job."""
    return args.job_run(args)


def _train(args: argparse.Namespace) -> int:
    from costmodel.neural.processes import first
    from ir_corpus.lm.documents import Arm
    from ir_corpus.lm.options import LmOptions
    from ir_corpus.lm.train import train_on_corpus

    if args.arm not in ARMS:
        raise unknown_name("arm", args.arm, ARMS)
    for flag in ("tokens", "batch", "window", "threads"):
        _at_least(f"--{flag}", getattr(args, flag), 8 if flag == "window" else 1)
    options = LmOptions(
        model=args.model,
        arm=Arm(args.arm),
        tokenizer=args.tokenizer,
        tokens=args.tokens,
        window=args.window,
        batch=args.batch,
        lr=args.lr,
        spam=args.spam,
        lora=args.lora,
        temperature=args.temperature,
        max_seconds=60 * args.minutes,
        threads=args.threads,
        seed=args.seed,
    )
    card = train_on_corpus(args.corpus, args.output, options, _tell)
    trained = card["trained"]
    line = f"wrote {args.output}: {trained['tokens']} tokens, loss {trained['loss']:.3f}, {trained['seconds']:.0f} s"
    if first():  # of the processes that torchrun started
        report(args, {"folder": str(args.output), **card}, line)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from ir_corpus.lm.evaluate import EvaluationOptions, evaluate
    from ir_corpus.lm.model import read_model
    from ir_corpus.lm.pairs import choose, read_corpus
    from ir_corpus.lm.train import read_card

    _at_least("--pairs", args.pairs, 1)
    model, card = read_model(args.model), read_card(args.model)
    pairs = choose(read_corpus(args.data, args.split), args.split, args.pairs)
    if not pairs:
        raise SeercError(f"{args.data} holds no pairs in the split {args.split!r}: see `seerc corpus stats`")
    options = EvaluationOptions(window=int(card["options"]["window"]), generate=args.generate)
    result = evaluate(model, pairs, options, _tell)
    columns = [*next(iter(result["languages"].values()))]
    rows = [[name, *(numbers[c] for c in columns)] for name, numbers in result["languages"].items()]
    rows.append(["mean", None, *(result["mean"][c] for c in columns[1:])])
    human = [table(("language", *columns), rows, "bits per byte of held-out text")]
    human += [table(tuple(result[p]), [list(result[p].values())], p) for p in ("retrieval", "generation")]
    report(args, result, *human)
    return 0


def _sample(args: argparse.Namespace) -> int:
    from ir_corpus.lm.generation import complete
    from ir_corpus.lm.model import read_model
    from ir_corpus.lm.tokenizer import IR_TO_SOURCE, SOURCE_TO_IR

    known: dict[str, Any] = {"ir": SOURCE_TO_IR, "source": IR_TO_SOURCE, "more": None}
    if args.to not in known:
        raise unknown_name("kind of text", args.to, known)
    prompt = read_text(args.prompt)
    (text,) = complete(read_model(args.model), [prompt], args.tokens, known[args.to], args.temperature, args.seed)
    report(args, {"text": text}, text)
    return 0


def _at_least(flag: str, value: int, least: int) -> None:
    if value < least:
        raise SeercError(f"{flag} must be at least {least}, got {value}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
