"""Stage 4a, check: a file in, a `Report` of findings out.

`structure` has the checks of an example's form, `quality` those of what it teaches; `registry` lists both. `file_check`
drives them over a file.
"""
