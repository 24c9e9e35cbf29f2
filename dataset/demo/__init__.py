"""The demo's data set: scenes, distortions of known strength, simulated ratings."""
