"""What the commands run beyond training: encode, sample, quickstart."""
