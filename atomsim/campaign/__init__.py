"""Campaigns: a file with steps, the tasks of it that are pending, and the run from there to its end."""
