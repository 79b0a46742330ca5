"""Passes that let a transformer do less: residual sub-blocks, found in the dataflow, skipped, thinned or routed."""
