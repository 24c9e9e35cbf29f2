"""From the raw ratings of a study to MOS, attributes and questions (paper, section 3.2)."""
