"""Put on the import path of processes that a submission starts."""
