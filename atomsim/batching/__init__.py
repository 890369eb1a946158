"""Size of one evaluation: memory, capacity, and batches of any number of systems."""
