"""Where models err, and what throws them off."""
