"""Official `config.yaml` files: read into experiments, and written."""
