"""Draws many images into files."""
