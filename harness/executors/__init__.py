"""Runs trials in this process or on Ray. Imports `sweep`, `trial` and what they import."""
