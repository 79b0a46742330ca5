"""What a neural model is made of and how it is trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class NeuralOptions:
    """One network and its training; two trainings with equal options and data give equal weights."""

    tokenizer: str = "operands"
    """A scheme of `tokens.tokenizer.SCHEMES`; `graph` has a reading of its own."""
    tokens: int = 512
    """Texts are cropped to so many tokens."""
    hidden: int = 128
    """Width of the workload's vector."""
    layers: int = 3
    dropout: float = 0.1
    unknown: float = 0.02
    """Share of tokens that training replaces by `<unk>`, so that its embedding means something."""
    prior: bool = False
    """Learn the residual to the analytic prior, and read the prior's terms."""
    ranking: bool = False
    """Also learn to order the candidates of a task (LambdaRank)."""
    epochs: int = 40
    batch: int = 24
    """Workloads a step."""
    candidates: int = 32
    """Rows of one workload a step at most, drawn anew every epoch."""
    lr: float = 2e-3
    decay: float = 0.01
    focus: float = 0.5
    """Weight of a row is (fastest of its task / its latency) ** focus: the model is used to pick fast ones."""
    calibration: float = 0.15
    """Share of the groups (networks) that the intervals are taken from, and that training does not see."""
    max_seconds: float = 0.0
    """Fewer epochs where they would take longer than this; 0: all of them. The weights then depend on the machine."""
    threads: int = 1
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: one CUDA device where there is one."""
    checkpoint_steps: int = 500
    """Steps between checkpoints, where a folder for them is given."""
    seed: int = 0
    pretrained: str = ""
    """A folder of `seerc cost pretrain`: the transformer's encoder starts from its weights; empty: from random ones."""

    def __repr__(self) -> str:
        """Names a recipe (`evaluate` hashes it): `pretrained` by its content, and not at all where there is none."""
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "pretrained"}
        shown |= {"pretrained": self._pretrained_hash()} if self.pretrained else {}
        return f"NeuralOptions({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def _pretrained_hash(self) -> str:
        """Of the words and weights; `missing` where there are none."""
        paths = [Path(self.pretrained) / name for name in ("tokenizer.json", "encoder.safetensors")]
        if not all(path.is_file() for path in paths):
            return "missing"
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]
