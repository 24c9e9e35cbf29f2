"""From a video file to the pixels that both backbones need.

- `video`: decodes one file, with `probe` and `completeness`; `reader`, `color` and `orientation`;
  `official`; `sampling` and `pieces`.
- `pool`: runs that in child processes.
"""
