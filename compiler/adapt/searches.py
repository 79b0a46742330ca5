"""Every search for a skip set of a fixed size, by the name that tools and results use."""

from __future__ import annotations

from compiler.adapt import rivals
from compiler.adapt.rivals import Searcher
from compiler.adapt.seer_search import relative_programming, seer

SEARCHES: dict[str, Searcher] = {
    "seer": seer,
    "swift": rivals.swift,
    "hidden-programming": rivals.hidden_programming,
    "relative-programming": relative_programming,
    "clasp": rivals.clasp,
    "knapspec": rivals.knapspec,
    "block-influence": rivals.block_influence,
    "uniform": rivals.uniform,
    "draft-and-verify": rivals.draft_and_verify,
    "additive-kl": rivals.additive_kl,
    "random": rivals.random_sets,
}
