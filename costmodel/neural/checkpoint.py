"""Checkpoints of a training run: weights and optimizer as safetensors, the place in the run as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from costmodel.errors import SeercError
from costmodel.files import write_atomically

FILE = "checkpoint.safetensors"
_STATE = "state"


def write_checkpoint(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """One file, replaced whole: the tensors, and `state` in its JSON header."""
    tensors = {f"weights/{k}": v for k, v in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in slots.items()}
    folder.mkdir(parents=True, exist_ok=True)
    content = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomically(folder / FILE, save(content, {_STATE: json.dumps(state, sort_keys=True)}))


def read_checkpoint(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, run: dict[str, Any]
) -> dict[str, Any] | None:
    """Restore network and optimizer; the state that was written, None where there is no checkpoint.

    Raises:
        SeercError: the checkpoint is damaged, or that of another run than `run` (options and data).
    """
    path = folder / FILE
    if not path.is_file():
        return None
    raw = path.read_bytes()
    try:
        size = int.from_bytes(raw[:8], "little")
        state = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"][_STATE])
        tensors = load(raw)
        if state["run"] != run:
            raise SeercError(f"{path}: of a training with other options or data; delete it or choose another folder")
        network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("weights/")})
        whole = optimizer.state_dict()
        whole["state"] = _slots(tensors)
        optimizer.load_state_dict(whole)
    except SeercError:
        raise
    except Exception as error:  # safetensors and torch raise many kinds
        raise SeercError(f"{path}: cannot be read ({error}); delete it to start over") from error
    return state


def _slots(tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    found: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, slot = key.split("/")
            found.setdefault(int(index), {})[slot] = value
    return found
