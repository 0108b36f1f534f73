"""Clocks, signals and process exits. Imports no other part of chronograd."""
