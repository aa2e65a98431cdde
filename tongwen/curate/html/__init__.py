"""Reads an HTML page and finds its main content, compiled."""
