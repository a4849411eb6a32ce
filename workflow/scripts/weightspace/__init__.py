"""Networks as data: zoos of small networks, autoencoders over their weights, and what they keep."""
