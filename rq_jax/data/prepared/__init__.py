"""Writes datasets in the format of TFDS, which the source `tfds` reads."""
