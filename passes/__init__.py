"""MLIR transformations: pass base and registry, fusion into regions, schedules."""
