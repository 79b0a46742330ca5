"""The journal of a training run: JSON lines, and TensorBoard events where tensorboard is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO


class Journal:
    """Writes one line a call to `train.jsonl`; without a folder it writes nothing."""

    def __init__(self, folder: Path | None, step: int = 0) -> None:
        """Lines of steps after `step`, which a resumed run does again, are dropped."""
        self.file: TextIO | None = None
        self.events: Any = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "train.jsonl"
        kept = [line for line in path.read_text().splitlines() if _step(line) <= step] if path.is_file() else []
        path.write_text("".join(f"{line}\n" for line in kept))
        self.file = path.open("a")
        self.events = _summary_writer(folder, step)

    def write(self, step: int, **values: float) -> None:
        """One record."""
        if self.file is None:
            return
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        for each in (self.file, self.events):
            if each is not None:
                each.close()


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
