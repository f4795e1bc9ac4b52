"""Tables of radiographs: cases, labels, splits, stages, duplicates."""
