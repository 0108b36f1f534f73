"""What results mean: reads results trees, scores them, draws them. Needs neither torch nor ray."""
