"""The FineVQ model on cached features: packing, projectors, score head, checkpoints."""
