"""Training: what it reads, how it runs, stops and goes on."""
