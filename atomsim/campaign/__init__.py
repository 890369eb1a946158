"""What drives: a file with steps, what of them is pending, and the run from there to its end."""
