"""Frontends: every kind of model becomes linalg on tensors with its weights as arguments."""
