"""From a video file to the pixels that both backbones need, in a child process."""
