"""The HTML report of a compile: one self-contained file."""
