"""Getting better by itself: rounds of playing, learning and checking. `generations` is what is remembered on disk, `rounds` goes on from
there, `work` does what a round consists of. Knows what playing, training, exporting and evaluating are for, and not how they work inside.
"""
