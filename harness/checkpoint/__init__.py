"""A process's state as files: written, authenticated, stored and read back; knows no trial."""
