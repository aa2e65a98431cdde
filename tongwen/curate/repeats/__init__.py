"""Cuts what many documents share: page frames, paragraphs, spans."""
