"""The jobs of `python -m rq_jax benchmark`, and their parts."""
