"""From the raw ratings of a study to MOS, attributes and questions (paper, section 3.2).

ratings       the ratings as arrays, and their moments by video or by subject
rating_files  reading ratings from a CSV file
rules         the rules by name: what is averaged, and how raters are screened
screening     which ratings are outliers, and which subjects are rejected
mos           the MOS by a rule
attributes    labels of the kind of distortion: read, and put to the vote
results       the files of a dataset made from a study
wording       the sentences of the question set
compose       the question set
"""
