"""Workloads to learn costs from: models, seeded architectures, single ops and random graphs, each named by a spec."""
