"""Kernels from candidates: regions, read as expressions over strided accesses, emitted as scf and vector."""
