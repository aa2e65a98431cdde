"""`python -m tongwen` is the same as `tongwen`."""

from tongwen.cli.main import main

main()
