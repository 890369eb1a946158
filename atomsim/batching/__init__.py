"""What fits into one evaluation."""
