"""Trains RL-VAE: the VAE, the pool of labels, the Q-network's loop, and its learning curves."""
