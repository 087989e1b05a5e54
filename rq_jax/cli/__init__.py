"""The commands: each module parses flags and calls a job or the training."""
