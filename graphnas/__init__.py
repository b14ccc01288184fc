"""Train a network for one task with every label you have; ship the network you already had."""

__version__ = "0.1.0"
