"""Runs a compiler on untrusted source: own folder, no network, limits on time, memory, disk and processes.

With bubblewrap (`bwrap`) the child sees the machine read-only and writes nowhere but in its work folder; with
`unshare` alone it has no network; with neither only the limits hold. `isolation()` says which it is.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_POLL_SECONDS = 0.25
_MESSAGE_BYTES = 2_000
_TIMED = '"$@"; code=$?; times > "$0/.times"; exit $code'


@dataclass(frozen=True)
class Limits:
    """What one child may use: seconds of CPU for each process, MiB of memory of all its processes, MiB of files.

    The wall clock is only a backstop for children that sleep: what a busy machine slows down must not become a reason.
    """

    seconds: float = 60.0
    wall_seconds: float = 600.0
    memory_mib: int = 3_000
    disk_mib: int = 512
    processes: int = 64


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    `reason` is empty on success, else one of `timeout`, `memory`, `disk`, `processes`, `crash` (a signal), `rejected`
    (an exit code other than 0), `compiler missing`. `message` is the end of its stderr; `seconds` is the CPU time of
    its processes, which a busy machine does not lengthen, or the wall time of a child that was killed.
    """

    reason: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Place:
    """Where a child runs: `tree` is read-only, `work` the only folder that it writes to.

    With bubblewrap both have the same names on every machine, so that no path of this one gets into the IR.
    """

    tree: Path
    work: Path
    in_tree: bool = True  # the child's current folder: the tree, else the work folder
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def inner_tree(self) -> Path:
        """The tree as the child sees it."""
        return Path("/tmp/src") if isolation() == "bubblewrap" else self.tree

    @property
    def inner_work(self) -> Path:
        """The work folder as the child sees it."""
        return Path("/tmp/out") if isolation() == "bubblewrap" else self.work


@cache
def isolation() -> str:
    """`bubblewrap` (own files, network, processes), `unshare` (no network) or `limits`, the best that works here."""
    probes = {
        "bubblewrap": ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"],
        "unshare": ["unshare", "--net", "true"],
    }
    for name, argv in probes.items():
        if shutil.which(argv[0]) and subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return name
    return "limits"


def run(argv: Sequence[str], place: Place, limits: Limits) -> Outcome:
    """Run one program in `place` until it ends or breaks a limit; every process that it started is gone afterwards."""
    start, log, report = time.monotonic(), place.work / ".stderr", place.work / ".times"
    report.unlink(missing_ok=True)
    with log.open("wb") as errors:
        try:
            child = subprocess.Popen(
                [*_limited(limits), *_isolated(place), "bash", "-c", _TIMED, str(place.inner_work), *argv],
                cwd=place.tree if place.in_tree else place.work,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            return Outcome("compiler missing", str(error), 0.0)
        broken = _watch(child.pid, place.work, limits)
        _kill_group(child.pid)
        code, wall = child.wait(), time.monotonic() - start
    message, seconds = _tail(log), _cpu_seconds(report)
    return Outcome(broken or _reason(code, message), message, wall if seconds is None else seconds)


def _cpu_seconds(report: Path) -> float | None:
    """CPU time of the child and what it waited for, from bash's `times`; None where it did not come to that."""
    try:
        words = report.read_text(encoding="ascii").split()[2:]
        return sum(60 * float(minutes) + float(seconds) for minutes, seconds in (w[:-1].split("m") for w in words))
    except (OSError, ValueError):
        return None


@cache
def _prlimit() -> str:
    """Its path, which else is looked for along PATH before every child."""
    return shutil.which("prlimit") or "prlimit"


def _limited(limits: Limits) -> list[str]:
    """`prlimit` in front of the child, so that no Python runs between fork and exec."""
    seconds, data, size = max(1, int(limits.seconds)), limits.memory_mib << 20, limits.disk_mib << 20
    return [_prlimit(), f"--cpu={seconds}", f"--data={data}", f"--fsize={size}", "--core=0", "--nofile=512", "--"]


def _isolated(place: Place) -> list[str]:
    if isolation() == "unshare":
        return ["unshare", "--net", "--"]
    if isolation() == "limits":
        return []
    tree, work = str(place.inner_tree), str(place.inner_work)
    hidden = [path for path in (sys.prefix, sys.base_prefix, str(Path(__file__).parent)) if path.startswith("/tmp/")]
    visible = [word for path in hidden for word in ("--ro-bind", path, path)]
    mounts = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *visible]
    mounts += ["--ro-bind", str(place.tree), tree, "--bind", str(place.work), work]
    start = tree if place.in_tree else work
    return ["bwrap", *mounts, "--chdir", start, "--unshare-all", "--die-with-parent", "--"]


def _environment(place: Place) -> dict[str, str]:
    """Nothing of the user's environment but the search path and Rust's toolchain; caches go to the work folder."""
    work = str(place.inner_work)
    kept = {name: os.environ[name] for name in ("PATH", "RUSTUP_HOME", "CARGO_HOME") if name in os.environ}
    if "RUSTUP_HOME" not in kept and (home := Path.home() / ".rustup").exists():
        kept["RUSTUP_HOME"] = str(home)
    fixed = {"HOME": work, "TMPDIR": work, "XDG_CACHE_HOME": work, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "0"}
    return {**kept, **fixed, "OMP_NUM_THREADS": "1", **place.environment}


def _watch(pid: int, work: Path, limits: Limits) -> str:
    """Wait for the child; the limit that it broke, or nothing."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        waited = 0.0
        while not poll.poll(_POLL_SECONDS * 1000):
            waited += _POLL_SECONDS
            if waited >= limits.wall_seconds:
                return "timeout"
            if broken := _over_limit(pid, work, limits):
                return broken
        return "disk" if _folder_bytes(work) > limits.disk_mib << 20 else ""
    finally:
        os.close(descriptor)


def _over_limit(pid: int, work: Path, limits: Limits) -> str:
    tree = _descendants(pid)
    if len(tree) > limits.processes:
        return "processes"
    if sum(map(_resident_bytes, tree)) > limits.memory_mib << 20:
        return "memory"
    return "disk" if _folder_bytes(work) > limits.disk_mib << 20 else ""


def _descendants(pid: int) -> list[int]:
    found, queue = [pid], [pid]
    while queue and len(found) < 10_000:
        try:
            text = Path(f"/proc/{queue[0]}/task/{queue.pop(0)}/children").read_text()
        except OSError:
            continue  # it has ended
        children = [int(word) for word in text.split()]
        found += children
        queue += children
    return found


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _folder_bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue  # a temporary file that is gone
    return total


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reason(code: int, message: str) -> str:
    """What an exit code means; shells and bwrap pass signals on as 128 + number."""
    if code == 0:
        return ""
    name = -code if code < 0 else code - 128
    out_of_memory = (
        "out of memory",
        "bad_alloc",
        "memory allocation of",
        "Cannot allocate",
        "heap exhausted",
        "MemoryError",
    )
    if any(words in message for words in out_of_memory):
        return "memory"
    if code == 127 and message.rstrip().endswith(": command not found"):
        return "compiler missing"
    known = {signal.SIGXCPU: "timeout", signal.SIGXFSZ: "disk", signal.SIGKILL: "timeout"}
    if name in known:
        return known[signal.Signals(name)]
    crashes = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
    crashed = name in crashes or "PLEASE submit a bug report" in message
    return "crash" if crashed else "rejected"


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _MESSAGE_BYTES))
        return file.read().decode("utf-8", errors="replace")
