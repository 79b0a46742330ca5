"""What a model knows of source and IR, on pairs that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from ir_corpus.lm.execution import judge
from ir_corpus.lm.generation import complete
from ir_corpus.lm.model import LanguageModel
from ir_corpus.lm.pairs import Pair, by_language
from ir_corpus.lm.parallel import parallel_functions
from ir_corpus.lm.renaming import change_under_renaming
from ir_corpus.lm.retrieval import chance, embed, mean_reciprocal_rank
from ir_corpus.lm.scoring import Scorer, bits_per_byte
from ir_corpus.lm.tokenizer import END, IR_TO_SOURCE, SOURCE_TO_IR

Numbers = dict[str, float | int | None]


@dataclass(frozen=True)
class EvaluationOptions:
    """How much is evaluated."""

    window: int = 512
    """Tokens that the model sees at once."""
    retrieve: int = 128
    """Pairs that retrieval searches."""
    generate: int = 16
    """Sources whose IR is written."""
    generate_tokens: int = 256


def evaluate(
    model: LanguageModel,
    pairs: Sequence[Pair],
    options: EvaluationOptions,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Every figure of docs/lm.md for held-out pairs; `mean` is over languages, each counted alike."""
    scorer = Scorer(model, options.window)
    languages: dict[str, Numbers] = {}
    for language, group in by_language(pairs).items():
        tell(f"scoring {len(group)} pairs of {language}")
        languages[language] = _of_language(scorer, group)
    mixed = _spread(pairs)
    tell("retrieving")
    retrieval = _retrieval(scorer, mixed[: options.retrieve], frozenset(map(str.lower, languages)))
    tell("generating")
    generation = _generation(model, mixed, options)
    return {"mean": _mean(languages), "languages": languages, "retrieval": retrieval, "generation": generation}


def _of_language(scorer: Scorer, pairs: Sequence[Pair]) -> Numbers:
    """Bits per byte of whole texts, and of each side after the side it belongs to and after that of another pair."""
    sources, irs = scorer.encode([p.source for p in pairs]), scorer.encode([p.ir for p in pairs])
    end, to_ir, to_source = (scorer.sentinels[s] for s in (END, SOURCE_TO_IR, IR_TO_SOURCE))
    most = (scorer.window - 2) // 2
    short_sources, short_irs = [s[:most] for s in sources], [i[:most] for i in irs]

    def given(contexts: list[list[int]], middle: int, texts: list[list[int]]) -> float | None:
        sequences = [([end, *c, middle][-scorer.window + most :], t) for c, t in zip(contexts, texts, strict=True)]
        return bits_per_byte(scorer.after(sequences))

    return {
        "pairs": len(pairs),
        "source": bits_per_byte(scorer.texts(sources, end)),
        "ir": bits_per_byte(scorer.texts(irs, end)),
        "ir_given_source": given(short_sources, to_ir, short_irs),
        "ir_given_other": given(_rotated(short_sources), to_ir, short_irs),
        "source_given_ir": given(short_irs, to_source, short_sources),
        "source_given_other": given(_rotated(short_irs), to_source, short_sources),
        "renaming": change_under_renaming(scorer, [p.source for p in pairs]),
    }


def _rotated(items: list[list[int]]) -> list[list[int]]:
    half = max(1, len(items) // 2)
    return items[half:] + items[:half]


def _retrieval(scorer: Scorer, pairs: Sequence[Pair], languages: frozenset[str]) -> Numbers:
    """Mean reciprocal ranks: of a source's IR among all, of an IR's source, of a function in another language."""
    sources, irs = embed(scorer, [p.source for p in pairs]), embed(scorer, [p.ir for p in pairs])
    known = {name: embed(scorer, texts) for name, texts in parallel_functions().items() if name in languages}
    across = [mean_reciprocal_rank(a, b) for a, b in permutations(known.values(), 2)]
    functions = len(next(iter(parallel_functions().values())))
    return {
        "pairs": len(pairs),
        "source_to_ir": mean_reciprocal_rank(sources, irs) if pairs else None,
        "ir_to_source": mean_reciprocal_rank(irs, sources) if pairs else None,
        "chance": chance(len(pairs)),
        "across_languages": sum(across) / len(across) if across else None,
        "across_languages_chance": chance(functions),
    }


def _generation(model: LanguageModel, pairs: Sequence[Pair], options: EvaluationOptions) -> Numbers:
    """IR written for sources that fit: shares that parse, verify, and, of those that can be run, run equal."""
    most = options.window - options.generate_tokens - 2
    fitting = [p for p in pairs if len(p.source) <= 4 * most]  # a token is seldom more than four bytes
    chosen = [p for p in fitting if _fits(model, p.source, most)][: options.generate]
    texts = complete(model, [p.source for p in chosen], options.generate_tokens, SOURCE_TO_IR) if chosen else []
    verdicts = [judge(text, pair.ir) for text, pair in zip(texts, chosen, strict=True)]
    run = [v.runs_equal for v in verdicts if v.runs_equal is not None]
    return {
        "prompts": len(chosen),
        "parses": _share([v.parses for v in verdicts]),
        "verifies": _share([v.verifies for v in verdicts]),
        "runnable": len(run),
        "runs_equal": _share(run),
    }


def _fits(model: LanguageModel, source: str, most: int) -> bool:
    return len(model.tokenizer.encode(source, add_special_tokens=False).ids) <= most


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None


def _spread(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, one of each language in turn."""
    groups = [list(group) for group in by_language(pairs).values()]
    longest = max(map(len, groups), default=0)
    return [group[i] for i in range(longest) for group in groups if i < len(group)]


def _mean(languages: dict[str, Numbers]) -> Numbers:
    names = [n for n in next(iter(languages.values()), {}) if n != "pairs"]
    found: Numbers = {}
    for name in names:
        values = [v for numbers in languages.values() if (v := numbers[name]) is not None]
        found[name] = sum(values) / len(values) if values else None
    return found
