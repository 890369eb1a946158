"""CHGNet, computed with its weights in another order."""
