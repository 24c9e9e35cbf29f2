"""From a video file to the pixels that both backbones need.

- `video`: decodes one file, with `probe` and `completeness`; `reader`, `color` and `orientation`;
  `sampling` and `pieces`.
- `pool`: runs that in child processes, which `orphan` ends with their parent.
"""
