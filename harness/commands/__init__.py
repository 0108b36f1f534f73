"""What each command does, without its options. Imports every room but `cli`."""
