"""From a raw record to its text: charset, main content, language, repair, lines."""

from tongwen.curate.html.main_content import extract as extract

__all__ = ["extract"]
