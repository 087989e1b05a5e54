"""Metrics of the quality of reconstructions."""
