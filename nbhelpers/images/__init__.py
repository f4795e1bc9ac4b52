"""From the file of one radiograph to a store of prepared pictures."""
