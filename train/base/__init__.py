"""Base language models with their tokenizers.

language_model    `load_base`: a base model in memory
published         the language models of published checkpoints
internlm2         InternLM2 as a Llama
embedded          the small base model that is made, not read
tokenizer         tokenizers of published checkpoints
tensors           hash and placement of weights
"""
