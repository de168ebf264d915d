"""PaAno: how far a patch is from the patches of normal operation, as a small convolutional encoder sees it."""
