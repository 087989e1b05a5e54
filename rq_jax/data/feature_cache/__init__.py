"""The cache of features between the stages: its files, and their writer."""
