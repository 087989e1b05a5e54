"""Converts downloaded datasets to prepared ones: `prepare`."""
