"""RL-VAE: a variational autoencoder of normal windows, and a Q-network that learns from few labels. Needs torch."""
