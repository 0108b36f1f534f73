"""Writes, authenticates and reads the state of a process. Imports `harness.system`."""
