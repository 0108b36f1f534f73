"""Modules that a submission written for AlgoPerf finds in place of those it was written against."""
