"""A Ray cluster: connecting to it, and asking each of its machines what it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from costmodel.errors import SeercError

REACH_S = 10.0
"""How long a cluster may take to answer."""
START_S = 120.0
"""How long the machines of a cluster may take to say what they are."""
Answer = TypeVar("Answer")


@contextmanager
def connected(address: str) -> Generator[int]:
    """The cluster at `address` (`auto`, HOST:PORT, ray://HOST:PORT, or `local` for a new one here): its number of CPUs.

    SeercError if Ray is not installed or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # of a new cluster; 15 would wait for every other process
    try:
        import ray
    except ImportError:
        raise SeercError("--ray needs the package ray: pip install 'seerc[ray]'") from None
    ours = not ray.is_initialized()
    try:
        if ours:
            _reach(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise SeercError(f"--ray {address}: {str(error).splitlines()[0]}; is it up (`ray start --head`)?") from None
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        if ours:
            ray.shutdown()


def _reach(address: str) -> None:
    """OSError if nobody listens at HOST:PORT, where Ray would try again for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), REACH_S).close()


def asked(function: Callable[..., Answer], *args: Any) -> list[Answer]:
    """What `function(*args)` answers on each machine that has CPUs.

    SeercError if there is none, or one of them cannot run it.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise SeercError("--ray: no machine of the cluster has a CPU to give")
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    try:
        answers: Any = ray.get(
            [task.options(scheduling_strategy=strategy).remote(*args) for strategy in strategies], timeout=START_S
        )
    except RayError as error:
        raise SeercError(f"--ray: a machine cannot run seerc: {str(error).strip().splitlines()[-1]}") from None
    return answers
