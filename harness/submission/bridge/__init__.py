"""A folder on the import path of the processes that a submission starts."""
