"""From files to batches: sources, transforms, the feature cache, the loader."""
