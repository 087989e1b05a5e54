"""Converts checkpoints of other code, and exports ours."""
