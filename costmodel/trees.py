"""Gradient-boosted trees (XGBoost): grown and run on one thread with a fixed seed, and stored without training data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from costmodel.artefact import MAX_FILE_BYTES
from costmodel.errors import SeercError
from costmodel.schedules import Array

if TYPE_CHECKING:
    import xgboost

SUFFIX = ".ubj.zst"
PACKING = 19
"""Level of zstd. xz makes a file 4 % smaller, which takes ten times as long to read at every start."""


class Growth(Protocol):
    """How trees are grown: the fields that the options of all models of trees have."""

    @property
    def depth(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def rows(self) -> float: ...
    @property
    def columns(self) -> float: ...
    @property
    def minimum_weight(self) -> float: ...
    @property
    def seed(self) -> int: ...


def parameters(growth: Growth) -> dict[str, Any]:
    """XGBoost's own names for them."""
    return {
        "objective": "reg:squarederror",
        "max_depth": growth.depth,
        "eta": growth.learning_rate,
        "subsample": growth.rows,
        "colsample_bytree": growth.columns,
        "min_child_weight": growth.minimum_weight,
        "tree_method": "hist",
        "nthread": 1,
        "seed": growth.seed,
    }


def grow(matrix: Any, label: Array, weight: Array | None, trees: int, parameters: Mapping[str, Any]) -> xgboost.Booster:
    """A booster of `trees` trees on a matrix of shape (n, features), dense or CSR, labels and weights of shape (n,)."""
    import xgboost

    return xgboost.train(dict(parameters), xgboost.DMatrix(matrix, label, weight=weight, nthread=1), trees)


def run(booster: xgboost.Booster, matrix: Any) -> Array:
    """What a booster gives for each row; (n,)."""
    booster.set_param({"nthread": 1})
    return np.asarray(booster.inplace_predict(matrix), dtype=np.float64)


def booster_files(boosters: Mapping[str, xgboost.Booster]) -> dict[str, bytes]:
    """One `model-NAME.ubj.zst` a booster."""
    import pyarrow as pa

    codec = pa.Codec("zstd", compression_level=PACKING)
    packed = {n: codec.compress(bytes(_bare(b).save_raw("ubj")), asbytes=True) for n, b in boosters.items()}
    return {f"model-{n}{SUFFIX}": content for n, content in packed.items()}


def _bare(booster: xgboost.Booster) -> xgboost.Booster:
    """The same trees without what only training reads, which is two thirds of a compressed file."""
    import xgboost

    model = json.loads(booster.save_raw("json"))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        for name in ("base_weights", "loss_changes", "sum_hessian"):
            tree[name] = [0.0] * len(tree[name])
    bare = xgboost.Booster()
    bare.load_model(bytearray(json.dumps(model).encode()))
    return bare


def read_boosters(files: Mapping[str, bytes]) -> dict[str, xgboost.Booster]:
    """What `booster_files` wrote.

    Raises:
        SeercError: a file is of another version, holds no booster, or one larger than MAX_FILE_BYTES.
    """
    import xgboost

    found: dict[str, xgboost.Booster] = {}
    for name, content in files.items():
        if not name.endswith(SUFFIX):  # a model without some of its boosters would predict its prior
            raise SeercError(f"{name}: written by another version of seerc; train the model again")
        booster = xgboost.Booster()
        booster.load_model(bytearray(_unpacked(name, content)))
        found[name.removeprefix("model-").removesuffix(SUFFIX)] = booster
    return found


def _unpacked(name: str, content: bytes) -> bytes:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SeercError(f"{name}: not zstd data ({error}); fetch or train the model again") from error
    if len(raw) > MAX_FILE_BYTES:
        raise SeercError(f"{name}: larger than {MAX_FILE_BYTES} bytes; fetch or train the model again")
    return raw
