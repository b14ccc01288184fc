"""The procedure of Aux-NAS (arXiv:2405.05695) as one writes it down in plain PyTorch: what graphnas is timed against."""
