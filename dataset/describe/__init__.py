"""What a dataset looks like: features of its pictures, distributions, one page.

features     five features of each video's pictures
description  the tables and the page
"""
