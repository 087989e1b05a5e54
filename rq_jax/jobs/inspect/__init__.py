"""Describes a dataset or a trained RQ-VAE, and warns of common mistakes.

detection         finds out how to read a folder
reading           reads every image once, into one row of facts per image
data              statistics of a dataset, from these rows
duplicates        images that occur twice, or nearly twice
data_advice       warnings about a dataset, and the image size to train with
tokenizer         figures of a trained RQ-VAE, split by split
features          scale and range of its features
tokenizer_advice  warnings about it, and the next commands
tables            the tables of both reports
text              the reports for a terminal
page              the reports as a page with pictures
job               reads, measures, prints and writes
"""
