"""`python -m harness.cli` is the `chronograd` command."""

from harness.cli import main

main()
