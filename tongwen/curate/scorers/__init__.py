"""Scorers that users train from their own text: perplexity, quality, coherence, safety, topic,
semantic clusters.
"""
