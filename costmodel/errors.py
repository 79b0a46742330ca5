"""The one exception for what a user can put right; it stands in the lowest layer so that every layer can raise it."""

from __future__ import annotations

from collections.abc import Iterable


class SeercError(Exception):
    """Bad input, a missing file, an unknown name: the message names the thing, the place and the way out.

    The command line prints it as one line and exits with 1; anything else that escapes is a bug in seerc.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SeercError:
    """The error for a name that is not registered, with the nearest known ones.

    Args:
        kind: what was looked up, for instance `pass` or `model`.
        name: what the user wrote.
        known: every name that would have been right.
    """
    return SeercError(f"unknown {kind} {name!r}: {suggestion(name, known)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the names nearest to `name`, else the list of the known ones."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(near) + "?"
    return "known: " + (", ".join(names) or "none")
