"""The demo's data set: scenes, distortions of known strength, simulated ratings.

frames       the frames of a video, and their file
palettes     random colors
photographs  scenes that are photographs
worlds       scenes that are computed
scenes       scenes under a moving camera
distortions  distortions of known strength
plan         which scenes are distorted how
questions    questions on each video
data_set     the folder with everything
"""
