"""ASTRA: contrastive embeddings of spectrogram patches, scored by several centroids of normal operation."""
