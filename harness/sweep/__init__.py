"""Plans, schedules, records and resumes a sweep. Imports `submission`, `spec`, `system`."""
