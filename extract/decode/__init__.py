"""From a video file to the pixels that both backbones need.

- `video`: decodes one file, with `probe`, `completeness`, `orientation`, `readers` and `sampling`.
- `pool`: runs that in child processes, which `orphan` ends with their parent.
"""
