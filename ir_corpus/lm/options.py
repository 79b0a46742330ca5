"""What a language model is and how it is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ir_corpus.lm.documents import Arm


@dataclass(frozen=True)
class Size:
    """A decoder from scratch; embeddings are tied."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int


SIZES = {"tiny": Size(128, 4, 4, 352, 2048), "small": Size(256, 4, 8, 704, 4096)}
"""1.1 and 4.3 million parameters."""


@dataclass(frozen=True)
class LmOptions:
    """One model and its training; two trainings on CPU with equal options and pairs give equal weights."""

    model: str = "tiny"
    """`tiny`, `small` (from scratch), or a Hugging Face folder or .gguf file to go on from."""
    arm: Arm = Arm.PAIRED
    tokenizer: str = "ir"
    """`ir` or `bpe`; a model that is gone on from keeps its own."""
    tokens: int = 500_000
    """Tokens to train on, padding not counted."""
    window: int = 512
    batch: int = 1
    """Windows a step and process. On CPUs many small steps learn most in a given time; GPUs want 8 and more."""
    lr: float | None = None
    """Peak learning rate; by default 3e-3 from scratch, 2e-4 with LoRA, 5e-5 for all weights of a trained model."""
    decay: float = 0.1
    warm_up: float = 0.05
    clip: float = 1.0
    spam: bool = False
    """Spike-aware Adam with momentum reset (arXiv 2501.06842)."""
    lora: int = 0
    """Rank of low-rank adapters on the attention and MLP matrices; 0 trains all weights."""
    temperature: float = 1.5
    without_ir: frozenset[str] = field(default_factory=frozenset[str])
    """Languages of which no IR is read."""
    kinds: tuple[str, ...] = ("file", "function")
    pairs: int = 4_000
    """Pairs of each language at most; more-source takes its further sources from them."""
    max_seconds: float = 0.0
    """Fewer tokens where they would take longer than this; 0: all of them. The weights then depend on the machine."""
    threads: int = 1
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: one CUDA device where there is one."""
    checkpoint_steps: int = 100
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        return asdict(self) | {
            "arm": self.arm.value,
            "without_ir": sorted(self.without_ir),
            "kinds": list(self.kinds),
        }

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up."""
        if self.lr is not None:
            return self.lr
        if self.lora:
            return 2e-4
        return 3e-3 if self.model in SIZES else 5e-5
