"""Scores, intervals and other radiographs; the only place that reads test labels."""
