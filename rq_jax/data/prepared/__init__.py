"""Datasets in the format of TFDS, which the source `tfds` reads.

folder     finds and opens a dataset
records    the features of a dataset, and the record of an example
shards     the ArrayRecord files of a split
manifest   hashes of all files, and how they are compared
metadata   the JSON files that make a folder of shards a dataset
"""
