"""Artefact folders of trained models: config.json, the model's own files, card.md. No pickle.

config.json names the architecture, the SHA-256 of every file, the schema version and the targets it was trained for.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from costmodel.errors import SeercError, unknown_name
from costmodel.learner import Trained
from costmodel.record import SCHEMA_VERSION
from costmodel.target import Target

MAX_CONFIG_BYTES = 1_000_000
MAX_FILE_BYTES = 100_000_000
LOADERS = {
    "xgboost": "costmodel.boosted:load",
    "neural": "costmodel.neural.artefact:load",
    "seer": "costmodel.seer:load",
    "text": "costmodel.text_model:load",
}
"""The `model` of config.json to `module:function` that makes the model: `load(config, files) -> Trained`."""


def save_artefact(folder: Path, config: Mapping[str, Any], files: Mapping[str, bytes], card: str) -> None:
    """Write a model's folder; an old one at the same place is replaced only when the new one is whole.

    Args:
        folder: where to.
        config: at least `model`, a name of LOADERS, and `targets`, Target.to_json() of each kind it was trained
            for; none for a model that asks nothing of the machine.
        files: the model's own files by name; `config.json` gains their hashes.
        card: Markdown for a reader.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, content in files.items():
            (made / name).write_bytes(content)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        whole = {**config, "schema_version": SCHEMA_VERSION, "sha256": hashes}
        (made / "config.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
        (made / "card.md").write_text(card)
        made.chmod(0o755)
        _replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def load_artefact(folder: Path | str, target: Target | None = None) -> Trained:
    """The model of an artefact folder.

    Raises:
        SeercError: a file is missing, corrupt or too large; another schema or feature version; made for other targets
            than `target`.
    """
    folder = Path(folder)
    config = read_config(folder)
    _check(folder, config)
    config.setdefault("name", folder.name)
    try:
        files = {name: _read(folder, name, digest) for name, digest in cast(dict[str, str], config["sha256"]).items()}
        targets = [Target.from_json(json.dumps(t)) for t in config["targets"]]
        if target is not None and targets:
            check_target(str(config["name"]), targets, target)
        module, _, function = LOADERS[config["model"]].partition(":")
        return getattr(importlib.import_module(module), function)(config, files)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SeercError(f"{folder / 'config.json'}: not the configuration of a cost model ({error!r})") from error


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of an artefact folder."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise SeercError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; not a cost model")
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SeercError(f"{folder}: not a cost model, config.json is missing; `seerc cost train` makes one") from error
    except (OSError, ValueError) as error:
        raise SeercError(f"{path}: cannot be read ({error}); train the model again") from error
    if not isinstance(config, dict):
        raise SeercError(f"{path}: not a JSON object")
    return cast(dict[str, Any], config)


def check_target(name: str, made_for: list[Target], target: Target) -> None:
    """SeercError unless the model has been trained for the target's ISA and vector width."""
    same_isa = [t for t in made_for if t.isa == target.isa]
    if not same_isa:
        known = ", ".join(sorted({t.isa for t in made_for}))
        raise SeercError(f"cost model {name} was trained for ISA {known}, the target {target.name} has {target.isa}")
    if target.vector_bytes not in {t.vector_bytes for t in same_isa}:
        known = " or ".join(sorted({str(t.vector_bytes) for t in same_isa}))
        raise SeercError(
            f"cost model {name} was trained for vectors of {known} bytes, "
            f"the target {target.name} has {target.vector_bytes}; train one with `seerc cost train`"
        )


def _check(folder: Path, config: dict[str, Any]) -> None:
    if config.get("model") not in LOADERS:
        raise SeercError(f"{folder}: {unknown_name('model', str(config.get('model')), LOADERS)}")
    if config.get("schema_version") != SCHEMA_VERSION:
        raise SeercError(
            f"{folder}: schema version {config.get('schema_version')}, this seerc has {SCHEMA_VERSION}; "
            "train the model again"
        )


def _read(folder: Path, name: str, digest: str) -> bytes:
    path = folder / name
    if path.name != name or path.parent != folder:
        raise SeercError(f"{folder / 'config.json'}: names a file outside of its folder: {name!r}")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SeercError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise SeercError(f"{path}: cannot be read ({error.strerror}); the artefact is incomplete") from error
    if hashlib.sha256(raw).hexdigest() != digest:
        raise SeercError(f"{path}: corrupt, its SHA-256 is not the one in config.json; fetch or train the model again")
    return raw


def _replace(made: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(made, folder)
    shutil.rmtree(old, ignore_errors=True)
