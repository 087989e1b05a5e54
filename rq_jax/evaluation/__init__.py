"""Figures that tell how good reconstructions and samples are."""
