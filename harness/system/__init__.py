"""Clocks, signals, process exits and the debug log. Imports no other part of chronograd."""
