"""Encodes datasets into the caches that stage 2 trains from."""
