"""Reads and writes checkpoints of the official implementation."""
