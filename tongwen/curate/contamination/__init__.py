"""Finds items of benchmarks in the documents and cuts them out."""
