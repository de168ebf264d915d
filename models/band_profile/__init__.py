"""Band profile: how far the mean level of each frequency band lies from normal clips. The default sound detector."""
