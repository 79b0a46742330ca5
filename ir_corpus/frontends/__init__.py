"""Which compilers turn a source file into LLVM IR, and which of them are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costmodel.errors import SeercError, unknown_name
from ir_corpus.frontends.frontend import Available, Frontend, llvm_major, version_of
from ir_corpus.frontends.table import FRONTENDS, LEVELS, LLVM

__all__ = ["FRONTENDS", "LEVELS", "Available", "Frontend", "available", "chosen", "languages"]


def languages() -> list[str]:
    """Every language of the table, in its order."""
    return list(dict.fromkeys(frontend.language for frontend in FRONTENDS))


def available() -> list[Available]:
    """For each language its first frontend that is here, else the first of the table with how to install it."""
    return [_line(language) for language in languages()]


def chosen(names: Sequence[str] = ()) -> dict[str, Frontend]:
    """Language -> the frontend that compiles it here; all that are on by default, or those named.

    Raises:
        SeercError: a name that is unknown, or whose compiler is missing.
    """
    if not names:
        found = {language: _best(language, defaults=True) for language in languages()}
        return {language: frontend for language, frontend in found.items() if frontend is not None}
    return dict(_named(name) for name in names)


def _named(name: str) -> tuple[str, Frontend]:
    by_name = {frontend.name: frontend for frontend in FRONTENDS}
    if name not in by_name and name not in languages():
        raise unknown_name("language or frontend", name, [*languages(), *by_name])
    frontend = _best(name, defaults=False) if name in languages() else by_name[name]
    if frontend is None or frontend.missing():
        wanted = frontend or next(entry for entry in FRONTENDS if entry.language == name)
        how = wanted.install or f"no package has it ({wanted.note})"
        raise SeercError(f"{name}: {', '.join(wanted.missing())} is missing: {how}")
    return frontend.language, _as_here(frontend)


def _best(language: str, defaults: bool) -> Frontend | None:
    fitting = [entry for entry in FRONTENDS if entry.language == language and (entry.default or not defaults)]
    return next((_as_here(entry) for entry in fitting if not entry.missing()), None)


def _as_here(frontend: Frontend) -> Frontend:
    """With `current` where the compiler of this machine says that it is built on our LLVM."""
    if not frontend.states_llvm:
        return frontend
    return replace(frontend, current=llvm_major(frontend.states_llvm) == LLVM)


def _line(language: str) -> Available:
    best = _best(language, defaults=False)
    if best is not None:
        return Available(language, best.name, True, version_of(best.version), best.install, best.note)
    first = next(entry for entry in FRONTENDS if entry.language == language)
    return Available(language, first.name, False, "", first.install, first.note)
