"""Base language models: published layouts, the embedded one, their tokenizers."""
