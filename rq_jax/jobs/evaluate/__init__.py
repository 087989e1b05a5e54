"""Computes metrics of images, from files or drawn by a model."""
