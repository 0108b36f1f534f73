"""What a submission is, and how its code gets here. Imports `harness.spec` and `harness.system`."""
