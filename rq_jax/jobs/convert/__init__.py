"""Brings checkpoints of other code here, and ours there."""
