"""Synthetic radiographs of hands, as an RSNA folder."""
