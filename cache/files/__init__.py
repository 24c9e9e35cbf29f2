"""Files of a store, in a local folder or behind a URL.

folder      Folder: read, write and list files; both kinds of place look the same
atomic      files on disk that appear whole or not at all
page_cache  a range of a local file, from memory where it lies there
stage       local copies of files behind a URL
outage      a place that is out of reach, told from files that are missing or damaged
space       the room that a job needs, and DiskFull
"""
