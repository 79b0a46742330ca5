"""One training over several processes: what torchrun sets up, and nothing where it did not."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Processes:
    """This process among those of the training."""

    rank: int
    world: int
    device: torch.device

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes."""
        if self.world == 1:
            return network
        ids = [self.device.index or 0] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def first() -> bool:
    """Whether this process writes the files."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def processes(device: str) -> Generator[Processes]:
    """Join the process group that WORLD_SIZE announces (nccl on CUDA, gloo on CPUs); one process without it."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(chosen, int(os.environ.get("LOCAL_RANK", "0"))) if chosen == "cuda" else torch.device(chosen)
    if world == 1:
        yield Processes(0, 1, place)
        return
    joined = not torch.distributed.is_initialized()
    if joined:
        torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        if joined:
            torch.distributed.destroy_process_group()
