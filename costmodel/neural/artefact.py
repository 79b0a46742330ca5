"""The neural model of an artefact folder: tokenizer.json and model.safetensors, checked against its configuration."""

from __future__ import annotations

import json
from typing import Any

from costmodel.errors import SeercError, unknown_name
from costmodel.neural.labels import METRICS
from costmodel.neural.model import NeuralModel
from costmodel.neural.network import ENCODERS, build_network
from costmodel.neural.options import NeuralOptions
from costmodel.neural.readers import load_reader
from costmodel.target import Target


def load(config: dict[str, Any], files: dict[str, bytes]) -> NeuralModel:
    """See `costmodel.artefact.LOADERS`; SeercError if weights and configuration do not fit together."""
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    name, architecture = str(config["name"]), str(config["architecture"])
    if architecture not in ENCODERS:
        raise unknown_name("architecture", architecture, ENCODERS)
    if config["metrics"] != list(METRICS):
        raise SeercError(
            f"cost model {name}: it predicts {config['metrics']}, this seerc {list(METRICS)}; train it again"
        )
    options = NeuralOptions(**config["options"])
    reader = load_reader(files["tokenizer.json"], options)
    network = build_network(architecture, reader, int(config["columns"]), options)
    try:
        network.load_state_dict(load_tensors(files["model.safetensors"]))
    except (RuntimeError, SafetensorError) as error:
        why = str(error).splitlines()[0]
        raise SeercError(
            f"cost model {name}: model.safetensors does not fit config.json ({why}); train it again"
        ) from error
    margins = {k: (float(v[0]), float(v[1])) for k, v in config["margins"].items()}
    targets = tuple(Target.from_json(json.dumps(t)) for t in config["targets"])
    return NeuralModel(architecture, network.eval(), reader, margins, targets, options, name)
