"""Drawing splits whose parts share no content, and the fingerprints that prove it.

drawing       dealing videos out to the parts
writing       the files of drawn splits
checking      what is wrong with a split
fingerprints  which videos have the same content or look alike
frames        decoding a video, for fingerprints and descriptions
"""
