"""From the files of a zoo to rows of tensors. One row goes this way, and visits no module twice:

`source` opens the zoo (`opening`, then `local` or `hub`) and promises what `source.base` says. `selection` decides
on the metadata which rows and columns are wanted. `blocks` turns the files of a shard into Arrow columns over the
same memory. On these stand the two kinds of datasets: `table` and `map_style`, or `read_ahead` and `stream`.
`formats` makes tensors of what they give.
"""
