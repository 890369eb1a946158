"""What is on disk of a run: its folder, tasks, records, rounds and claims, states and artifacts."""
