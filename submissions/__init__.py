"""Submissions: a folder each, under external_tuning/ and self_tuning/."""
