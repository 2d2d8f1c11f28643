"""Stage 5, split: one file of examples in, a training file, a validation file and perhaps a test file out.

`splitter` reads and writes the files; `stratified_groups` decides which example goes where.
"""
