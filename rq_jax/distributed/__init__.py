"""Devices and processes: where arrays live, and what processes do together."""
