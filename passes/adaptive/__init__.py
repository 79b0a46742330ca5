"""Passes that let a transformer do less: residual sub-blocks, found in the dataflow and put behind a mask."""
