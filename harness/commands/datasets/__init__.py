"""Datasets: described in TOML files, downloaded, unpacked and put where workloads read them.

A workload's dataset is described by `dataset.toml` in the workload's folder. Imports `workloads`
and scoring's files; httpx2 is imported inside.
"""
