"""The networks of both stages, as Flax Linen modules."""
