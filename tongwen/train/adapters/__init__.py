"""Adapters: small trainable matrices on a model that does not change."""
