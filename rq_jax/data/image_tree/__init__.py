"""Lists folders of images: which files count, their splits and their classes.

`index.open_tree` lists a folder with all folders below it, or reads the list
that an earlier call has stored. `arrangement.arrange` finds splits and classes
in the list.
"""
