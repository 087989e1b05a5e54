"""Data, from files to batches: sources, transforms, feature cache, loader."""
