"""What runs a trial and a sweep. Imports nothing, so that each part loads only what it needs."""
