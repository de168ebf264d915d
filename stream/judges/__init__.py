"""Judges that make messages: what alerts, scores, label requests and silence look like on topics."""
