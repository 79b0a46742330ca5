"""Regions as loops and expressions: read from text here, from MLIR in passes.region; one set of rules for both."""
