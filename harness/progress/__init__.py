"""Shows the progress of a sweep and sends it to trackers. Imports `sweep` and what it imports."""
