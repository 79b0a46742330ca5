"""A compiled model: a folder with manifest.json, program.so and weights.bin, and the callable around it."""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from compiler.native.link import EXPORTED
from compiler.native.manifest import ALIGNMENT, NAME, Manifest, TensorSpec
from compiler.native.marshal import Array, Marshal, address
from compiler.native.openmp import BLOCKTIME_MS, default_threads, load_openmp
from compiler.target import host_features
from costmodel.errors import SeercError

LIBRARY = "program.so"
WEIGHTS = "weights.bin"
FILES = (NAME, LIBRARY, WEIGHTS)


class Program:
    """A compiled model: call it with NumPy arrays or CPU torch tensors, get back the same kind.

    Calls from several threads at once are safe: each has its own workspace. `threads` of a call is the number of
    OpenMP threads; None is OMP_NUM_THREADS, or one a CPU.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._openmp = load_openmp()
        self._weights = _map_weights(folder / WEIGHTS)
        self._weights_address, self._mapped = address(self._weights), True
        self._run = _load_library(self, folder / LIBRARY)
        self._marshal = Marshal(manifest.inputs, manifest.outputs)
        self._idle_workspaces: list[Array] = []

    @property
    def maps_weights(self) -> bool:
        """Whether the weights are the mapped file, which processes share."""
        return self._mapped

    def use_weights(self, weights: Array) -> None:
        """Read the weights from memory that holds the bytes of the file."""
        self._weights, self._weights_address, self._mapped = weights, address(weights), False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.outputs

    @property
    def plan(self) -> Any:
        return self.manifest.plan

    @staticmethod
    def build(library: Path | str, weights: Iterable[Array] | Path, manifest: Manifest) -> Program:
        """A program in a temporary folder that lives as long as it.

        Args:
            library: the linked shared library; it is copied.
            weights: the packed arrays in the order of `manifest.weights`, each of that shape, taken one at a time; or
                the weights.bin of another program that has the same, which becomes this one's too.
            manifest: its weights come from `place_weights`; its `files` and `seerc` are filled in here.
        """
        holder = tempfile.TemporaryDirectory(prefix="seerc-program-")
        folder = Path(holder.name)
        try:
            shutil.copyfile(library, folder / LIBRARY)
            if isinstance(weights, Path):
                os.link(weights, folder / WEIGHTS)
            else:
                _write_weights(folder / WEIGHTS, weights, manifest)
            files = {name: _fingerprint(folder / name) for name in (LIBRARY, WEIGHTS)}
            manifest = replace(manifest, files=files, seerc=_seerc_version())
            manifest.write(folder)
        except OSError as error:
            raise SeercError(f"cannot write the program to {folder}: {error.strerror}") from error
        program = Program(folder, manifest)
        weakref.finalize(program, holder.cleanup)
        return program

    def save(self, folder: Path | str) -> None:
        """Copy the program into `folder`, whole or not at all; an older program there is replaced."""
        save_folder(Path(folder), lambda made: [shutil.copyfile(self.folder / n, made / n) for n in FILES])

    @staticmethod
    def load(folder: Path | str) -> Program:
        """The program that `save` wrote; SeercError if it is damaged, of another format or for another CPU."""
        folder = Path(folder)
        manifest = Manifest.read(folder)
        missing = [flag for flag in manifest.isa if flag not in host_features()]
        if missing:
            raise SeercError(f"{folder} needs a CPU with {' '.join(missing)}: compile the model on this machine")
        for name in (LIBRARY, WEIGHTS):
            if _fingerprint(folder / name) != manifest.files.get(name):
                raise SeercError(f"{folder / name} is damaged: compile the model again")
        return Program(folder, manifest)

    def __call__(self, *arguments: Any, threads: int | None = None) -> list[Any]:
        """Run the model; the outputs are fresh arrays, tensors if any argument is one. SeercError on a mismatch."""
        kept, inputs, outputs, to = self._marshal.prepare(arguments)
        self._call(inputs, to, threads)
        del kept
        return outputs

    def bind(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Callable[[int | None], None]:
        """A function of the number of threads that runs the model from these arrays into those, each time it is called.

        For programs that run often on memory of their own, as a decoder's step: nothing is checked or allocated again.
        SeercError unless each array has the shape and type of its place and is contiguous.
        """
        kept, pointers, to = self._marshal.bind(inputs, outputs)

        def run(threads: int | None) -> None:
            assert kept  # the arrays live as long as this function
            self._call(pointers, to, threads)

        return run

    def _call(self, inputs: Any, outputs: Any, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise SeercError(f"threads must be at least 1, got {threads}")
        workspace = self._take_workspace()
        self._openmp.kmp_set_blocktime(BLOCKTIME_MS)
        self._openmp.omp_set_num_threads(threads or default_threads())
        status = self._run(self._weights_address, inputs, outputs, address(workspace))
        self._idle_workspaces.append(workspace)
        if status:
            raise SeercError(f"the program failed with status {status}")

    def _take_workspace(self) -> Array:
        """64-byte aligned scratch memory that no other call uses now."""
        try:
            return self._idle_workspaces.pop()
        except IndexError:
            memory = np.empty(self.manifest.workspace_bytes + ALIGNMENT, np.uint8)
            return memory[-address(memory) % ALIGNMENT :]


def save_folder(folder: Path, write: Callable[[Path], object], marker: str = NAME) -> None:
    """Make `folder` with what `write` puts into a temporary one; only a folder with file `marker` is replaced."""
    folder = folder.absolute()
    if folder.exists() and not (folder / marker).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SeercError(f"{folder} exists and is not a seerc program: choose another place")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            made = Path(temporary) / "new"
            made.mkdir()
            write(made)
            _sync(made)
            if folder.exists():
                os.rename(folder, Path(temporary) / "old")
            os.rename(made, folder)
    except OSError as error:
        raise SeercError(f"cannot save to {folder}: {error.strerror or error}") from error


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_weights(path: Path, weights: Iterable[Array], manifest: Manifest) -> None:
    with path.open("wb") as file:
        for spec, array in zip(manifest.weights, weights, strict=True):
            if array.nbytes != spec.nbytes:
                raise SeercError(f"weight {spec.name!r} must have {spec.nbytes} bytes, got {array.nbytes}")
            file.write(bytes(spec.offset - file.tell()))
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.write(bytes(ALIGNMENT))


def _map_weights(path: Path) -> Array:
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file; SeercError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise SeercError(f"cannot read {path}: {error.strerror}") from error


def _load_library(owner: Program, path: Path) -> Any:
    """seerc_run of a private copy of the library: the loader would give an old one for a path that it has seen."""
    copy = os.memfd_create("seerc-program")
    try:
        with os.fdopen(os.dup(copy), "wb") as file:
            file.write(path.read_bytes())
        library = ctypes.CDLL(f"/proc/self/fd/{copy}")
        run = getattr(library, EXPORTED)
    except (OSError, AttributeError) as error:
        os.close(copy)
        raise SeercError(f"cannot load {path}: {error}") from error
    run.argtypes = [ctypes.c_void_p] * 4
    run.restype = ctypes.c_int32
    weakref.finalize(owner, _unload, library._handle, copy)
    return run


def _unload(handle: int, descriptor: int) -> None:
    _ctypes.dlclose(handle)
    os.close(descriptor)


def _seerc_version() -> str:
    try:
        return version("seerc")
    except PackageNotFoundError:
        return "uninstalled"
