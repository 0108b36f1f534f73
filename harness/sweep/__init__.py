"""A sweep: planned, scheduled, recorded, resumed. Imports `submission`, `spec`, `system`."""
