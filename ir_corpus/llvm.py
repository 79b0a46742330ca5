"""All IR of the corpus goes through one LLVM (llvmlite's): parsed, verified, normalised, printed, whatever wrote it.

The same input gives the same bytes: each call uses a context of its own, so no name depends on what was read before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ir_corpus import slicing
from ir_corpus.debug_info import Place, places
from ir_corpus.layout import Parts, as_printed, joined
from ir_corpus.numbering import numbered
from ir_corpus.stripping import parted, stripped, trimmed

MAX_BYTES = 64 << 20


class BadIR(Exception):
    """IR that LLVM refuses; `reason` is `unparsable IR`, `not verified`, `too large` or `wrong encoding`."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Module:
    """A normalised module, as text and bitcode, and where its functions stand in the source (symbol -> place)."""

    text: str
    places: dict[str, Place]
    bitcode: bytes


def version() -> str:
    """The LLVM that reads and prints, as `22.1.0`."""
    import llvmlite.binding as llvm

    return ".".join(map(str, llvm.llvm_version_info))


def normalised(
    data: bytes, keep: Callable[[dict[str, Place]], dict[str, Place]] | None = None, current: bool = False
) -> Module:
    """Read text or bitcode of any LLVM up to ours; verify; drop debug info, metadata, paths, local names.

    Args:
        data: what a compiler wrote.
        current: whether it is text as our LLVM prints it: then it need not be read and printed before it is edited.
        keep: given the places of all functions, those to keep; the others go unless they are only declared. Without
            it the whole module stays.

    Raises:
        BadIR: LLVM does not parse or verify it, before or after; or nothing is to be kept.
        slicing.NoSlice: the functions to keep cannot be taken out.
    """
    if len(data) > MAX_BYTES:
        raise BadIR("too large", f"{len(data)} bytes of IR")
    code, metadata = parted(_decoded(data) if current else _printed(data))
    found = places(code, metadata)
    text = stripped(code, metadata)
    if keep is not None:
        found = keep(found)
        if not found:
            raise BadIR("no function of the file")
        parts = slicing.read(text)
        text = joined(slicing.smallest(parts, [name for name in parts.definitions if name in found], keep_target=True))
    with _parsed(numbered(text)) as module:
        return Module(trimmed(str(module)), found, module.as_bitcode())


def checked(text: str) -> str:
    """The text as LLVM prints it after parsing and verifying; raises BadIR."""
    return trimmed(_printed(text))


def of_parts(parts: Parts) -> str:
    """The text of a module as LLVM prints it, after parsing and verifying; raises BadIR."""
    text = as_printed(parts)
    if text is None:
        return checked(joined(parts))
    with _parsed(text):
        return text


def _printed(data: bytes | str) -> str:
    with _parsed(data) as module:
        return str(module)


def bitcode(text: str) -> bytes:
    """The bitcode of a module given as text; raises BadIR."""
    with _parsed(text) as module:
        return module.as_bitcode()


@contextmanager
def _parsed(data: bytes | str) -> Generator[Any]:
    """A verified module in its own context; it goes before the context does, which the collector does not ensure."""
    import llvmlite.binding as llvm

    context = llvm.create_context()
    try:
        if isinstance(data, bytes) and data[:4] in (b"BC\xc0\xde", b"\xde\xc0\x17\x0b"):
            module = llvm.parse_bitcode(data, context)
        else:
            module = llvm.parse_assembly(_decoded(data), context)
    except RuntimeError as error:
        raise BadIR("unparsable IR", str(error)[:500]) from None
    with module:
        try:
            module.verify()
        except RuntimeError as error:
            raise BadIR("not verified", str(error)[:500]) from None
        yield module


def _decoded(data: bytes | str) -> str:
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadIR("wrong encoding", f"byte {error.start} of the IR is not UTF-8") from error
    if "\0" in text:
        raise BadIR("unparsable IR", "a NUL byte in the text")
    return text
