"""Optimizers, learning-rate schedule and parametrization."""
