"""Domain adaptation (DANN, MMD, CORAL) on a CNN-BiLSTM encoder; see README.md."""
