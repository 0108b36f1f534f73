"""Where trials run: in this process, or on Ray. Imports `sweep`, `trial` and what they import."""
