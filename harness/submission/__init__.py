"""Finding, loading and shipping submissions. Imports `harness.spec` and `harness.system`."""
