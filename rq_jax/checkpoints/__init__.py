"""Checkpoints of runs, and the inference copies that are made from them."""
