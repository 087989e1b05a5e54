"""Estimates what an experiment takes: parameters, memory, operations."""
