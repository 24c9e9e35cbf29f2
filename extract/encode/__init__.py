"""The two frozen backbones, from pixels to features, and the identity of what they make."""
