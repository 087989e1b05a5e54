"""Training: one loop, and the two stages that it runs."""
