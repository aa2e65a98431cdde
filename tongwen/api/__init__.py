"""The Python API: what `import tongwen` offers, on top of the stages."""
