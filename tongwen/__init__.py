"""Tongwen: from a raw bilingual crawl to a language model that answers."""

__version__ = "0.1.0"
