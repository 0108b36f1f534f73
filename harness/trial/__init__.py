"""One trial, in one process, without Ray. Imports `submission`, `checkpoint`, `spec`, `system`."""
