"""Reads results trees, scores them and draws them. Needs neither torch nor ray."""
