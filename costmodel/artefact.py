"""Artefact folders of trained models: config.json, one model-METRIC.ubj a metric, card.md. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from costmodel.boosted import BoostedModel, BoostedOptions
from costmodel.errors import SeercError
from costmodel.features import FEATURE_VERSION, feature_names
from costmodel.record import SCHEMA_VERSION
from costmodel.target import Target

MAX_CONFIG_BYTES = 1_000_000
MAX_MODEL_BYTES = 100_000_000


def save_artefact(model: BoostedModel, folder: Path, card: str, extra: dict[str, Any] | None = None) -> None:
    """Write a model's folder; an old one at the same place is replaced only when the new one is whole."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        hashes: dict[str, str] = {}
        for metric, booster in model.boosters.items():
            raw = bytes(booster.save_raw("ubj"))
            hashes[metric] = hashlib.sha256(raw).hexdigest()
            (made / f"model-{metric}.ubj").write_bytes(raw)
        config = {
            "model": "boosted",
            "schema_version": SCHEMA_VERSION,
            "feature_version": FEATURE_VERSION,
            "features": list(feature_names()),
            "target": json.loads(model.target.to_json()),
            "options": asdict(model.options),
            "margins": model.margins,
            "sha256": hashes,
            **(extra or {}),
        }
        (made / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (made / "card.md").write_text(card)
        made.chmod(0o755)
        _replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def load_artefact(folder: Path | str, target: Target | None = None) -> BoostedModel:
    """The model of an artefact folder.

    Raises:
        SeercError: a file is missing, corrupt or too large; another schema or feature version; another ISA than
            `target`.
    """
    folder = Path(folder)
    config = read_config(folder)
    _check(folder, config)
    try:
        margins = {k: (float(v[0]), float(v[1])) for k, v in config["margins"].items()}
        options = BoostedOptions(**config["options"])
        hashes = cast(dict[str, str], config["sha256"])
        made_for = Target.from_json(json.dumps(config["target"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SeercError(f"{folder / 'config.json'}: not the configuration of a cost model ({error!r})") from error
    boosters = {metric: _booster(folder / f"model-{metric}.ubj", digest) for metric, digest in hashes.items()}
    model = BoostedModel(boosters, margins, made_for, options, name=str(config.get("name", folder.name)))
    if target is not None:
        model.check(target)
    return model


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


def _check(folder: Path, config: dict[str, Any]) -> None:
    if config.get("model") != "boosted":
        raise SeercError(f"{folder}: model {config.get('model')!r} is not known to this seerc; known: boosted")
    for key, ours in (("schema_version", SCHEMA_VERSION), ("feature_version", FEATURE_VERSION)):
        if config.get(key) != ours:
            raise SeercError(
                f"{folder}: {key.replace('_', ' ')} {config.get(key)}, this seerc has {ours}; train the model again"
            )
    if config.get("features") != list(feature_names()):
        raise SeercError(f"{folder}: its features are not those of this seerc; train the model again")


def _booster(path: Path, digest: str) -> Any:
    import xgboost

    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise SeercError(f"{path}: larger than {MAX_MODEL_BYTES} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise SeercError(f"{path}: cannot be read ({error.strerror}); the artefact is incomplete") from error
    if hashlib.sha256(raw).hexdigest() != digest:
        raise SeercError(f"{path}: corrupt, its SHA-256 is not the one in config.json; fetch or train the model again")
    booster = xgboost.Booster()
    booster.load_model(bytearray(raw))
    return booster


def _replace(made: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(made, folder)
    shutil.rmtree(old, ignore_errors=True)
