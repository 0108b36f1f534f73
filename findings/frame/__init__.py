"""What findings share: training through the harness, and the look of figures.

Imports: `harness.trial`, `harness.submission`, `scoring`, `workloads`, `submissions`.
"""
