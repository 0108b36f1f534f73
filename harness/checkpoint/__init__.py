"""A process's state as files: written, authenticated, read back. Imports `harness.system`."""
