"""Kernels from candidates: the region is read into expressions over strided accesses, then emitted as scf and vector."""
