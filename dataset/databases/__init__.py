"""Published databases and the official files, read as they are distributed.

published    the databases: their label files, sizes and MOS ranges
label_files  reading a label file: a list, a table, a MATLAB file
matlab       reading the columns of a MATLAB file
official     the JSON lines of the official FineVQ and FineVD data
video_files  which video file a label names
importing    from a database to a dataset's folder
report       what an import found, and what differs from what is published
writing      the files of the new dataset
"""
