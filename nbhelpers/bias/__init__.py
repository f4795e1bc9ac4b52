"""For whom models err, and what throws them off."""
