"""MLIR text in, hardware metrics out."""
