"""MLIR text as token sequences: three readings of the same text behind one tokenizer."""
