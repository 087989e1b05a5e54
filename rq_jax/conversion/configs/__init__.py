"""Official `config.yaml` files: read into ours, and written from them."""
