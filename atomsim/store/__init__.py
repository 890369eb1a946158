"""Storage of a run on disk: its folder, tasks, records, rounds and claims, states and artifacts."""
