"""Types with a meaning for the recipe loader."""

from typing import Annotated

RELATIVE_TO_RECIPE = "relative to the recipe file"

PathText = Annotated[str, RELATIVE_TO_RECIPE]
"""A path or glob pattern; when relative, the loader completes it with the recipe file's folder.
`{role}/...` names a file of an earlier stage and is left as it is."""
