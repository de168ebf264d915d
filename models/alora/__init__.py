"""ALoRa: a low-rank attention transformer that reconstructs, and ALoRa-Loc, its localiser. Needs torch."""
