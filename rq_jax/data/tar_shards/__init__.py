"""Image datasets in tar files, as webdataset and img2dataset write them.

The files of one sample follow each other and share a key, their name up to the
first dot: `000017.jpg`, `000017.txt`, `000017.json`. `finding` lists the tar
files of each split, `table` finds the samples of one tar file, and `samples`
joins and reads them.
"""
