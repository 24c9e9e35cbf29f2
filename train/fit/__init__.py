"""A training run on cached features.

training        `train`: the run from settings to checkpoint
data            what is learned, checked before training
reading         samples from the store
start           initial weights: another checkpoint's, or fitted
trainer         transformers.Trainer with exact losses
progress        rates, losses, the live line
runs            the folder of a run, and resuming
training_set    training.csv
end_to_end      the stage that decodes videos and trains the image encoder's LoRA
"""
