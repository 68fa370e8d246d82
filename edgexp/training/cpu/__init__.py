"""Training on processors: the pieces of a decoder that are quick there, and a decoder made of them. Knows torch, not recipes or runs."""
