"""The recipe: strict TOML into frozen dataclasses, and the presets that ship in the package."""
