"""A decoder on which self-speculation pays: trained here by the LayerSkip recipe, on text that is installed here.

python tools/train_layerskip.py -o build/adaptive/layerskip [--minutes 60] [--grown] [--report]

A shallow model is trained first, then grown by G_stack with zero output projections, then trained on with layer dropout
and early-exit losses. The folder is a Hugging Face one from the first checkpoint on (during the first stage: the grown
model, whose deep layers add nothing); train/ in it holds the tokens, checkpoints and train.jsonl of both stages. The
same command goes on where it was stopped. Writes exits.json: loss and agreement of every exit on held-out packages.
--grown writes the grown model of the shallow stage, without further training, to the folder; --report only measures.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from compiler.mod.decoder import DecoderOptions, shallow_model, stages, train_stage, write_folder
from compiler.mod.growth import grow
from compiler.mod.installed_text import Corpus, installed_text
from compiler.mod.layerskip import report_exits
from compiler.mod.tokens import TokenData, token_data, train_tokenizer
from costmodel.files import write_atomically

log = logging.getLogger("seerc")
HELD_OUT_WINDOWS = 64


def main() -> None:
    """Trains or goes on training, then reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0, help="CPU time, both stages")
    parser.add_argument("--base-share", type=float, default=0.6, help="share of the minutes for the shallow stage")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grown", type=Path, metavar="SHALLOW_RUN", help="write the grown model of that run's stage")
    parser.add_argument("--report", action="store_true", help="only measure the exits of the model in the folder")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    options = DecoderOptions(seed=args.seed)
    if args.grown:
        write_grown(args.grown, args.out, options)
    elif args.report:
        report(args.out)
    else:
        train(args.out, options, args.minutes, args.base_share)
        report(args.out)


def train(out: Path, options: DecoderOptions, minutes: float, base_share: float) -> None:
    """Both stages."""
    work = out / "train"
    tokenizer, data = texts(work, options)
    base, deep = stages(options, minutes, base_share)
    shallow = shallow_model(options)

    def save_grown(model: Any) -> None:
        write_folder(grow(model, options.growth), tokenizer, out)

    train_stage(shallow, data, base, options, work / base.name, save_grown)
    write_folder(shallow, tokenizer, work / "shallow")
    model = grow(shallow, options.growth)
    train_stage(model, data, deep, options, work / deep.name, lambda m: write_folder(m, tokenizer, out))


def texts(work: Path, options: DecoderOptions) -> tuple[Any, TokenData]:
    """Tokenizer and ids, made once."""
    from transformers import AutoTokenizer

    work.mkdir(parents=True, exist_ok=True)
    folder = work / "tokenizer"
    if (folder / "tokenizer.json").is_file() and (work / "tokens.safetensors").is_file():
        return AutoTokenizer.from_pretrained(folder), token_data(Corpus((), (), ()), None, work)
    corpus = installed_text()
    log.info("%d texts to train on, held out: %s", len(corpus.train), ", ".join(corpus.held_out_packages))
    tokenizer = train_tokenizer(corpus.train, options.vocabulary)
    data = token_data(corpus, tokenizer, work)
    tokenizer.save_pretrained(folder)
    write_atomically(work / "prompts.txt", "\n\n".join(prompts(corpus)) + "\n")
    return tokenizer, data


def prompts(corpus: Corpus, count: int = 64) -> list[str]:
    """Lines of prose and code of the held-out packages that are long enough to go on from."""
    lines = [line.strip() for text in corpus.held_out for line in text.splitlines()]
    long = sorted({line for line in lines if 60 <= len(line) <= 100})
    return long[:: max(1, len(long) // count)][:count]


def write_grown(run: Path, out: Path, options: DecoderOptions) -> None:
    """The grown model of a run's shallow stage; its deep layers are exactly silent."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shallow = run / "train" / "shallow"
    model = AutoModelForCausalLM.from_pretrained(shallow)
    write_folder(grow(model, options.growth), AutoTokenizer.from_pretrained(shallow), out)


def report(out: Path) -> None:
    """Prints and writes the exits' numbers of the model in the folder."""
    from transformers import AutoModelForCausalLM

    options = DecoderOptions()
    model = AutoModelForCausalLM.from_pretrained(out, attn_implementation="sdpa").eval()
    data = token_data(Corpus((), (), ()), None, out / "train")
    windows = data.held_out_windows(HELD_OUT_WINDOWS, options.length)
    exits = [asdict(e) for e in report_exits(model, windows)]
    write_atomically(
        out / "exits.json", json.dumps({"tokens": windows[:, 1:].numel(), "exits": exits}, indent=1) + "\n"
    )
    for row in exits:
        print(f"exit {row['layer']:2d}: held-out loss {row['loss']:.3f}, agreement {row['agreement']:.3f}")


if __name__ == "__main__":
    main()
