"""Adaptive depth in torch: mixture of depths, LayerSkip training, grown models, and the texts and tasks to train on."""
