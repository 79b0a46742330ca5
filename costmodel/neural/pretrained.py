"""A pretrained encoder on disk and into a network: encoder.safetensors, tokenizer.json and config.json with hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from costmodel.artefact import MAX_CONFIG_BYTES, MAX_FILE_BYTES
from costmodel.errors import SeercError
from costmodel.files import write_atomically
from costmodel.neural.options import NeuralOptions
from costmodel.tokens.tokenizer import PAD, UNKNOWN, Tokenizer

ARCHITECTURE = "transformer"
CONFIG, WEIGHTS, WORDS = "config.json", "encoder.safetensors", "tokenizer.json"
BY_WORD = ("embedding.words.weight", "embedding.gate.weight")
"""One row a word; every other weight is copied whole."""
UNTRAINED = "out."
"""The pooled output takes no part in pretraining: a network starts with its own."""


@dataclass(frozen=True)
class Pretrained:
    """An encoder's weights and the words of its embedding."""

    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    """State of a `TransformerEncoder` without UNTRAINED."""
    sizes: dict[str, int]
    """`hidden` and `layers`."""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """What it was trained on and what that took, for a reader."""
    place: str = "pretrained encoder"
    """Where it came from, for messages."""

    def save(self, folder: Path) -> None:
        """Write the folder; config.json comes last, so that a killed run leaves none that fits."""
        from safetensors.torch import save

        weights = save({k: v.detach().cpu().contiguous() for k, v in self.weights.items()})
        files = {WEIGHTS: weights, WORDS: self.tokenizer.to_json().encode()}
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(folder / name, content)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        config = {"model": "pretrained", "architecture": ARCHITECTURE, **self.sizes, "sha256": hashes, **self.facts}
        write_atomically(folder / CONFIG, json.dumps(config, indent=1, sort_keys=True) + "\n")

    def check(self, architecture: str, options: NeuralOptions) -> None:
        """SeercError unless a network of this architecture and these options can start from it."""
        if architecture != ARCHITECTURE:
            raise SeercError(f"{self.place}: pretrains a {ARCHITECTURE}; {architecture} takes no option pretrained")
        wanted = {"hidden": options.hidden, "layers": options.layers}
        if self.sizes != wanted:
            raise SeercError(
                f"{self.place}: pretrained with {_named(self.sizes)}, the network has {_named(wanted)}; "
                "give the network its sizes, or pretrain again"
            )
        if self.tokenizer.scheme != options.tokenizer:
            raise SeercError(
                f"{self.place}: pretrained on the tokenizer {self.tokenizer.scheme}, the network reads "
                f"{options.tokenizer}; set tokenizer={self.tokenizer.scheme}, or pretrain again"
            )

    def copy_into(self, encoder: nn.Module, words: tuple[str, ...]) -> None:
        """Start a `TransformerEncoder` from the weights; words that pretraining did not see keep their own rows.

        Args:
            encoder: changed in place.
            words: of its tokenizer, in order of their ids from 2 on.
        """
        mine, theirs = ((PAD, UNKNOWN, *w) for w in (words, self.tokenizer.words))
        index = {word: i for i, word in enumerate(theirs)}
        pairs = torch.tensor([(i, index[word]) for i, word in enumerate(mine) if word in index])
        state: dict[str, Tensor] = {k: v for k, v in encoder.state_dict().items() if not k.startswith(UNTRAINED)}
        self._check_shapes(state, len(theirs))
        with torch.no_grad():
            for name, own in state.items():
                if name in BY_WORD:
                    own[pairs[:, 0]] = self.weights[name][pairs[:, 1]]
                else:
                    own.copy_(self.weights[name])

    def _check_shapes(self, state: Mapping[str, Tensor], size: int) -> None:
        wanted = {k: (size, *v.shape[1:]) if k in BY_WORD else tuple(v.shape) for k, v in state.items()}
        found = {k: tuple(v.shape) for k, v in self.weights.items()}
        wrong = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        if wrong:
            raise SeercError(
                f"{self.place}: {WEIGHTS} holds another encoder than this seerc has ({wrong[0]} is "
                f"{found.get(wrong[0], 'missing')}, wanted {wanted.get(wrong[0], 'none')}); pretrain again"
            )


def read_pretrained(folder: Path | str) -> Pretrained:
    """What `save` wrote.

    Raises:
        SeercError: a file is missing, corrupt or too large, or of something else; it names the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(folder)
    config = _config(folder)
    files = {name: _content(folder / name, config["sha256"][name]) for name in (WEIGHTS, WORDS)}
    try:
        weights = load(files[WEIGHTS])
        tokenizer = Tokenizer.from_json(files[WORDS])
    except (SafetensorError, SeercError) as error:
        raise SeercError(f"{folder}: {str(error).splitlines()[0]}; `seerc cost pretrain` makes it again") from error
    sizes = {k: int(config[k]) for k in ("hidden", "layers")}
    return Pretrained(tokenizer, weights, sizes, place=str(folder))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config: Any = json.loads(_content(path, None, MAX_CONFIG_BYTES))
        whole = config["model"] == "pretrained" and config["architecture"] == ARCHITECTURE
        known = all(type(config[k]) is int for k in ("hidden", "layers"))
        whole = whole and known and all(isinstance(config["sha256"][k], str) for k in (WEIGHTS, WORDS))
    except (ValueError, KeyError, TypeError) as error:
        raise SeercError(
            f"{path}: not the configuration of a pretrained encoder ({error!r}); `seerc cost pretrain` makes one"
        ) from error
    if not whole:
        raise SeercError(f"{path}: of no pretrained {ARCHITECTURE}; `seerc cost pretrain` makes one")
    return cast(dict[str, Any], config)


def _content(path: Path, digest: str | None, most: int = MAX_FILE_BYTES) -> bytes:
    try:
        if path.stat().st_size > most:
            raise SeercError(f"{path}: larger than {most} bytes; not of a pretrained encoder")
        raw = path.read_bytes()
    except OSError as error:
        raise SeercError(
            f"{path}: cannot be read ({error.strerror}); name a folder that `seerc cost pretrain` wrote"
        ) from error
    if digest is not None and hashlib.sha256(raw).hexdigest() != digest:
        raise SeercError(f"{path}: corrupt, its SHA-256 is not the one in {CONFIG}; pretrain again")
    return raw


def _named(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sizes.items())
