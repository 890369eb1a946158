"""Small, fast students of large potentials: configurations, labels, training, errors, card."""
