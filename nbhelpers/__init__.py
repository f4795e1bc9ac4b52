"""Bone age and developmental stage from paediatric hand radiographs: research and teaching.

Layers; a file imports from its own layer and from lower ones, and no two files import each other,
directly or around a corner. `tests/test_architecture.py` reads the table here.

    1  workspace    run folders, safe writes, clear errors, locks, versions, work on all cores
    1  parameters   a notebook's parameters, and the files that set them
    1  metrics      scores of ages and stages with intervals; two models on the same cases
    2  quick        what a notebook that is opened first lacks, made small
    2  results      the results file of a run
    2  predictions  the prediction table
    2  data         tables, cases, splits, stages, duplicates
    2  images       radiograph, hand, geometry, preparation
    2  phantom      synthetic radiographs: anatomy, shapes, hand, film, dataset
    3  models       networks, backbones, batches, training, search, HOG, ensembles, saved models
    4  evaluation   scores (the only reader of test labels), conformal intervals, other radiographs
    5  explain      heat maps, whether they can be trusted, regions, shortcuts
    5  bias         errors by group, agreement, stress
    6  plots        figures and tables for a reader
    7  batch        whole profiles headless, and their pages; no notebook imports it
"""
