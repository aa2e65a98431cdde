"""`python -m tongwen` is the same as `tongwen`."""

from tongwen.cli import main

main()
