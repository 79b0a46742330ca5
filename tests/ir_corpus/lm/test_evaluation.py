"""Figures against what they must be: by hand, for models whose answers are known."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from costmodel.errors import SeercError
from ir_corpus.lm.evaluate import EvaluationOptions, evaluate
from ir_corpus.lm.generation import complete
from ir_corpus.lm.model import LanguageModel
from ir_corpus.lm.options import SIZES, Size
from ir_corpus.lm.pairs import Pair
from ir_corpus.lm.parallel import parallel_functions
from ir_corpus.lm.renaming import change_under_renaming, own_names, rename
from ir_corpus.lm.retrieval import chance, mean_reciprocal_rank
from ir_corpus.lm.scoring import Scorer, bits_per_byte
from ir_corpus.lm.train import make_model
from tests.ir_corpus.lm.conftest import QUICK


@pytest.fixture(scope="module")
def scorer(train_rows: list[Pair]) -> Scorer:
    SIZES["quick"] = Size(32, 2, 2, 64, 400)
    model = make_model(QUICK, train_rows)
    model.network.eval()
    return Scorer(model, 64)


def uniform(scorer: Scorer) -> Scorer:
    """A model that knows nothing: every token is as likely as any other."""
    network = deepcopy(scorer.model.network)
    with torch.no_grad():
        network.get_output_embeddings().weight.zero_()
    return Scorer(LanguageModel(network, scorer.model.tokenizer), 64)


def test_bytes_are_those_of_the_text(scorer: Scorer) -> None:
    texts = ["int über(void);", "x", "🙂 = 1", "a" * 900]
    scored = scorer.texts(scorer.encode(texts), 1, most_windows=100)
    assert [int(s.bytes.sum()) for s in scored] == [len(t.encode()) for t in texts]


def test_a_model_that_knows_nothing_spends_log2_of_the_vocabulary(scorer: Scorer) -> None:
    ignorant = uniform(scorer)
    (scored,) = ignorant.texts(ignorant.encode(["int f(void);"]), 1)
    size = ignorant.model.network.config.vocab_size
    assert scored.bits == pytest.approx(np.log2(size))
    assert bits_per_byte([scored]) == pytest.approx(len(scored.bits) * np.log2(size) / 12)


def test_batches_and_windows_do_not_change_a_score(scorer: Scorer) -> None:
    ids = scorer.encode(["int f(int a);", "return a * 4711 + b - c / 2;" * 8, "x"])
    together = scorer.texts(ids, 1)
    alone = [scorer.texts([i], 1)[0] for i in ids]
    for a, b in zip(together, alone, strict=True):
        assert a.bits == pytest.approx(b.bits, rel=1e-4)
    assert scorer.texts([ids[1][:63]], 1)[0].bits == pytest.approx(together[1].bits[:63], rel=1e-4)


def test_the_context_counts(scorer: Scorer) -> None:
    one, other = scorer.after([([5, 6, 7], [8, 9]), ([7, 6, 5], [8, 9])])
    assert not np.allclose(one.bits, other.bits)


SOURCE = '#include <own.h>\nint own_sum(int left)\n{ int x = left; /* x left */ return x + left + f("left"); }\n'


def test_names_of_one_file_are_renamed_and_nothing_else() -> None:
    names = own_names([SOURCE, "int other(int a) { return f(a) + x; }"])
    assert names[0] == {"left"}
    before, after = rename(SOURCE, names[0])
    assert before.text == SOURCE
    assert after.text == SOURCE.replace("int left", "int n0").replace("= left", "= n0").replace("+ left", "+ n0")
    rest = [
        "".join(c for i, c in enumerate(r.text) if not any(a <= i < b for a, b in r.spans)) for r in (before, after)
    ]
    assert rest[0] == rest[1]
    assert {after.text[a:b] for a, b in after.spans} == {" n0"}


def test_fresh_names_are_not_those_of_the_text() -> None:
    _, after = rename("n0 + own * own", frozenset({"own"}))
    assert after.text == "n0 + n1 * n1"


def test_renaming_costs_a_model_that_knows_nothing_nothing(scorer: Scorer) -> None:
    assert change_under_renaming(uniform(scorer), [SOURCE, "int other(int f) { return f; }"]) == pytest.approx(0.0)
    assert change_under_renaming(scorer, ["return;", "return;"]) is None


def test_mean_reciprocal_rank_by_hand() -> None:
    points = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert mean_reciprocal_rank(points, points) == 1.0
    assert mean_reciprocal_rank(points, points[[1, 0, 3, 2]]) == pytest.approx(1 / 4)
    assert mean_reciprocal_rank(points, np.zeros((4, 2))) == pytest.approx(1 / 4)  # ties count against
    assert chance(4) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_parallel_functions_agree_over_languages() -> None:
    functions = parallel_functions()
    assert {"c", "rust", "fortran", "python", "nim"} <= functions.keys()
    assert {len(f) for f in functions.values()} == {16}
    assert all("gcd" in f[0] and "hash" in f[-1] for f in functions.values())


def test_greedy_text_is_the_likeliest_and_repeats(scorer: Scorer) -> None:
    prompts = ["int f(int left)", "x"]
    together = complete(scorer.model, prompts, 12)
    assert together == [complete(scorer.model, [p], 12)[0] for p in prompts]
    hot = [complete(scorer.model, ["x"], 12, temperature=1.0, seed=s)[0] for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]


def test_a_prompt_that_is_too_long_is_refused(scorer: Scorer) -> None:
    with pytest.raises(SeercError, match="the model reads at most 2048"):
        complete(scorer.model, ["x " * 3000], 12)


def test_every_figure_is_there(scorer: Scorer, test_rows: list[Pair]) -> None:
    options = EvaluationOptions(128, retrieve=10, generate=2, generate_tokens=8)
    found = evaluate(scorer.model, test_rows[:4] + test_rows[-4:], options)
    assert found["languages"].keys() == {"c", "rust"}
    numbers = found["mean"]
    assert numbers["source"] == pytest.approx(sum(n["source"] for n in found["languages"].values()) / 2)
    assert all(numbers[k] > 0 for k in numbers if k != "renaming")
    assert found["retrieval"]["pairs"] == 8
    assert 0 < found["retrieval"]["across_languages"] <= 1
    assert found["generation"]["prompts"] == found["generation"]["runnable"] == 2
