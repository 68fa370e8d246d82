"""Sessions that other programs have kept, as trajectories: which format a file has, what was said in it, without secrets. Knows no bank."""
