"""What `python -m rq_jax benchmark` times, a module for each kind and part."""
