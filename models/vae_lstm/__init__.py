"""VAE-LSTM: codes of short windows by a convolutional VAE, predicted from the codes before by an LSTM."""
