"""How far a sweep is, for people and for trackers. Imports `sweep` and what it imports."""
