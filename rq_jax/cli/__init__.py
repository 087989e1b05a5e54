"""The commands: each module parses flags and calls the function that works."""
