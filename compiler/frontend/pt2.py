"""`.pt2` archives of torch.export, without ever unpickling code.

torch.export.load unpickles sample inputs, tensor subclasses and script objects, loads AOTInductor libraries, and
evaluates the text of symbolic shapes. An archive with any of these is refused before torch sees it.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.frontend.model import FrontendError

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")


def load_pt2(path: Path) -> tuple[ExportedProgram, tuple[torch.Tensor, ...] | None]:
    """(program, its saved example tensors or None); raises FrontendError for what is unreadable, unsafe or dynamic."""
    samples = _check(path)
    try:
        return torch.export.load(path), samples
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise FrontendError(f"{path}: torch cannot read the program: {str(error).splitlines()[0]}") from None


def _check(path: Path) -> tuple[torch.Tensor, ...] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            prefix = next((n[: -len(MODEL)] for n in archive.namelist() if n.endswith(MODEL)), None)
            if prefix is None or f"{prefix}archive_format" not in archive.namelist():
                raise FrontendError(f"{path}: no {MODEL} inside: save with torch.export.save of torch 2.8 or later")
            files = {n.removeprefix(prefix): n for n in archive.namelist()}
            _check_files(path, archive, files)
            return _samples(path, archive.read(files[SAMPLES])) if SAMPLES in files else None
    except (zipfile.BadZipFile, OSError, json.JSONDecodeError) as error:
        raise FrontendError(f"{path}: not a .pt2 archive, or a truncated one: {error}") from None


def _check_files(path: Path, archive: zipfile.ZipFile, files: dict[str, str]) -> None:
    for name in files:
        folder = name.rsplit("/", 1)[0]
        if "aotinductor" in name or (folder in ("data/weights", "data/constants") and name.endswith(".pt")):
            raise FrontendError(f"{path}: holds {name}, which is compiled or pickled code: export it again")
        if folder == "models" and name != MODEL:
            raise FrontendError(f"{path}: holds several programs ({name}); save one to a file")
    for config in CONFIGS:
        if config not in files:
            raise FrontendError(f"{path}: {config} is missing: a truncated archive?")
        for key, payload in json.loads(archive.read(files[config])).get("config", {}).items():
            if payload.get("use_pickle") or not str(payload.get("path_name", "")).startswith(("weight_", "tensor_")):
                raise FrontendError(f"{path}: {key} is pickled, not a plain tensor: refused")
    if _has_key(json.loads(archive.read(files[MODEL])), "expr_str"):
        raise FrontendError(f"{path}: has dynamic shapes: export it with static ones")


def _has_key(value: Any, key: str) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if key in item:
                return True
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False


def _samples(path: Path, data: bytes) -> tuple[torch.Tensor, ...] | None:
    """The example tensors; a pickle that weights_only refuses is refused, since torch.export.load would run it."""
    if not data:
        return None
    try:
        args, kwargs = torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # torch.load raises many kinds, all of which mean: not plain tensors
        raise FrontendError(f"{path}: its sample inputs are not plain tensors: {type(error).__name__}") from None
    tensors = [*args, *kwargs.values()]
    return tuple(tensors) if all(isinstance(t, torch.Tensor) for t in tensors) else None
