"""Lists, verifies and removes the checkpoints of a run."""
