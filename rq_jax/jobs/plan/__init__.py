"""Estimates the parameters, memory and operations of an experiment."""
