"""The cache of features between the stages.

layout      the files: names, shapes and sizes
rounding    rounds features to float16, and measures the error
checksums   of single views, compared when they are read
array_file  writes an array file in order, and hashes it
records     the JSON files: a record of each shard, and meta.json
writer      writes a shard
reader      opens the arrays of a split, and compares files with their hashes
"""
