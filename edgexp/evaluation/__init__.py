"""Does experience help? Conditions played on the same tasks, results that survive a crash, paired statistics. Knows no decoding."""
