"""Whole profiles headless: parameters, papermill, Snakemake, pages."""
