"""From pixels to features by the two frozen backbones, and the identity of the features.

- `encoder`: encodes videos in batches, with `spatial` (InternViT) and `motion` (SlowFast).
- `backbones`: loads weights: published ones by `internvit`, `slowfast` and `vision_lora`, or
  those of `embedded`.
- `identity`: names everything that decides the values of the features.
"""
