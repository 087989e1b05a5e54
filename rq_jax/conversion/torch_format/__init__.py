"""Reads and writes files of `torch.save` without PyTorch."""
