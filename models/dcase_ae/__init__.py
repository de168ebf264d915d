"""The autoencoder baseline of DCASE task 2: how badly a small network repeats five frames of a mel spectrogram."""
