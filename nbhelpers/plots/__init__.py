"""Figures and tables for a reader."""
