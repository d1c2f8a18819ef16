"""`calibrate`: a schedule of tokens per layer, searched for a model on a few hundred clips, without training."""
