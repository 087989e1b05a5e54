"""The cache of features between the stages: layout of its files, and writer."""
