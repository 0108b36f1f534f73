"""Modules that replace those of AlgoPerf and of its dependencies for submissions."""
