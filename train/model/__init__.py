"""The model on cached features, and its checkpoints.

spec               how a checkpoint reads a video
packing            all questions of a video behind one visual prefix
finevq             projectors, language model with LoRA, score head
initialise         a projector's initial weights
sharding           the frozen weights divided among processes
trained_weights    the files of trained weights
checkpoint         checkpoint.json; a checkpoint is saved and loaded
official           published FineVQ checkpoints as checkpoints of ours
"""
