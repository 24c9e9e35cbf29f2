"""Stage two: train projectors, LoRA and score head on cached features.

prompts, settings    what the model is asked; the `[train]` settings
base/                base language models: published ones, the embedded one, their tokenizers
model/               the model on cached features: packing, attention, checkpoints
fit/                 a training run: its data, its start, Trainer, resuming, the end-to-end stage
"""

if not __name__.startswith("finevq."):
    raise ImportError("this folder is finevq.train; import that name")
