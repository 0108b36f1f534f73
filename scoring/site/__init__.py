"""A static site of leaderboards, from one TOML file. Imports `scoring` and its parts."""
