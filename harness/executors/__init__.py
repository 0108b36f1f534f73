"""Runs trials on this machine or on Ray. Imports `sweep`, `trial` and what they import."""
