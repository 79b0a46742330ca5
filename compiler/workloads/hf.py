"""`hf:ARCH#SEED`: Hugging Face architectures in small configurations drawn at random, as networks `ARCH-SEED`.

Two layers of each: equal layers make equal workloads. Weights are random and are read by nobody.
"""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

from compiler.frontend.model import FrontendError, ImportedModel, failure
from compiler.workloads import hf_text, hf_vision
from compiler.workloads.hf_text import Arch, Fields
from costmodel.errors import suggestion

ARCHITECTURES: dict[str, Arch] = dict(sorted({**hf_text.ARCHITECTURES, **hf_vision.ARCHITECTURES}.items()))
"""By the name in a spec."""


def hf_model(name: str, seed: int) -> ImportedModel:
    """The architecture in the configuration of a seed; FrontendError if it cannot be imported."""
    from compiler.frontend.torch_module import import_module

    module, inputs = build(name, seed)
    return import_module(module, inputs, f"{name}-{seed}")


def build(name: str, seed: int) -> tuple[Any, tuple[Any, ...]]:
    """(torch module that returns its model's first result, example inputs), all seeded.

    FrontendError for a name that is not in ARCHITECTURES, or a configuration that transformers refuses.
    """
    import torch

    if name not in ARCHITECTURES:
        raise FrontendError(f"hf:{name}: no such architecture; {suggestion(name, ARCHITECTURES)}")
    drawn, shape = ARCHITECTURES[name].draw(random.Random(f"{name}#{seed}"))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        try:
            model = _model(ARCHITECTURES[name], drawn)
        except Exception as error:  # transformers' own checks
            raise failure(f"hf:{name}#{seed}: transformers cannot build it", error) from error
        is_text = model.main_input_name == "input_ids"
        inputs = torch.randint(0, drawn["vocab_size"], shape) if is_text else torch.randn(shape)
    return _first_result(model.eval()), (inputs,)


def _model(arch: Arch, drawn: Fields) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()  # it warns of the token numbers that a small vocabulary lacks
    kind = getattr(transformers, arch.config)
    known = {f.name for f in fields(kind)}
    config = kind(**{k: v for k, v in drawn.items() if k in known}, attn_implementation="eager")
    if hasattr(config, "use_cache"):
        config.use_cache = False
    model = getattr(transformers, arch.model)(config)
    return getattr(model, arch.part) if arch.part else model


def _first_result(model: Any) -> Any:
    from torch import nn

    class FirstResult(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, value: Any) -> Any:
            return self.model(value, return_dict=True)[0]

    return FirstResult()
