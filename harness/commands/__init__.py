"""The implementation of each command, without its options. Imports every room except `cli`."""
