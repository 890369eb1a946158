"""Where ``execution`` was: kept for processes that began before it moved and start others by the old name."""
