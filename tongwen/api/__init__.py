"""The Python face: what `import tongwen` offers, over the stages of the road."""
