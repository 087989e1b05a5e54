"""Compiles the programs of an experiment for a chip, without running them."""
