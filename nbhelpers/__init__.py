"""Bone age and developmental stage from paediatric hand radiographs: research and teaching.

The rooms, floor by floor. A room imports only rooms of lower floors, and of its own floor only
rooms that stand above it in this table; `tests/test_architecture.py` reads it here.

    floor  room              what it knows
    1      workspace         where data and outputs are, safe writes, clear errors, cores
    1      hardware          processor, memory, GPU, versions
    1      locks             locks on files of a run folder, freed with the process
    1      external_names    what another folder of radiographs is called
    1      metrics           scores of ages and stages with bootstrap intervals
    1      paired            two models on the same cases: difference, interval, p value
    1      side_by_side      one function of many files, on all cores
    2      stages            five developmental stages cut out of bone age, by sex
    2      splits            train, tuning, calibration and test; folds; their manifest
    2      label_floor       how small an error the labels allow
    2      published         figures of others, with what they were measured on
    2      tables            a table of cases as text, with the line each row stands on
    2      layouts           which files of a folder are the table and the images
    2      labels            id, image, sex and bone age of each row, checked
    2      fingerprints      which tables and images a run folder was made from
    2      results           the results file of a run
    2      cases             the case table
    2      other_cases       cases of another folder, to be scored or predicted
    3      predictions       the prediction table
    3      radiograph        one radiograph file as grey levels
    3      geometry          where a pixel of the radiograph lies in the prepared picture
    3      collimation       the collimated field of a radiograph
    3      hand_outline      the outline of the hand
    3      hand_finding      where the hand lies and which way it points
    3      preparation       how one radiograph is prepared
    3      disturbances      ways in which a radiograph may be unlike those of training
    3      store             a store of pictures that survives being killed
    3      sources           the files that pictures are made from
    3      preparers         processes that prepare radiographs side by side
    3      geometry_table    the geometry of every case
    3      images            all radiographs, prepared, in one array
    3      voc_files         boxes of one radiograph, from a Pascal VOC file
    3      regions           ossification regions, as boxes and as masks
    3      shift             how far other radiographs lie from those of training
    3      near_copies       radiographs that are nearly the same under two ids
    3      phantom_shapes    two kinds of bone and the path of X-rays through them
    3      phantom_profiles  outlines of long bones, compact and spongy
    3      phantom_growth    when centres show, cap and fuse; how long the hand is
    3      phantom_anatomy   the grown hand that every drawing is scaled from
    3      phantom_pose      how a hand lies; the parts that others fill and draw
    3      phantom_wrist     carpals, sesamoid, radius and ulna
    3      phantom_bones     the bones of one hand in one pose
    3      phantom_tissue    skin, fat and muscle
    3      phantom_regions   boxes around the regions that a reader looks at
    3      phantom_frame     where the hand lies in the frame, collimation, marker
    3      phantom_film      from attenuation to film
    3      phantom_sampling  who is on the radiographs, and the label a reader gives
    3      phantom_drawing   one synthetic radiograph
    3      phantom           synthetic radiographs as an RSNA folder
    4      conformal         quantiles of errors, groups of stages large enough
    4      intervals         prediction intervals of ages, fitted on calibration
    4      stage_sets        prediction sets of stages, fitted on calibration
    4      interval_files    the intervals and sets of a saved model
    4      evaluation        scores of prediction tables, the test split among them
    4      subgroups         scores and errors by sex, age band and stage
    4      error_groups      groups against all others, and how many of each are in train
    4      sex_gap           girls against boys: standardised for age, equivalence
    4      agreement         limits of agreement, regression to the mean
    4      coverage          how often intervals hold the true age, how wide they are
    4      standings         all pairs of models, compared
    4      augmentation      light random changes of a radiograph, one warp for all
    4      networks          the custom CNN, inputs, heads
    4      weight_files      where pretrained weights lie
    4      backbone_layers   a backbone's layers, the ends of its stages, its weights
    4      backbones         networks of keras.applications, each with its range of grey levels
    4      sam               sharpness-aware minimisation
    4      combinations      how the predictions of an ensemble's members become one
    4      hog               histograms of oriented gradients, gradient-boosted trees
    5      batches           batches that stream from the store
    5      devices           GPUs, precision, several devices
    5      shared_batches    batches that several devices can share
    5      optimisers        schedule, optimiser, loss
    5      materials         what networks are trained on, by split and fold
    5      training_state    the one file that a training goes on from
    5      training          fit, resumed after a kill
    5      prediction        saved models, flip averaging, unknown sex
    5      model_views       which prepared pictures saved models take
    5      feature_files     files of features that a killed computation goes on with
    5      features          what a frozen backbone sees, computed once
    6      fitting           one network from its first step to the model that is saved
    6      external_sets     another folder, prepared and predicted as a run's own
    6      disturbed_pictures  disturbed radiographs, prepared on all cores
    6      visible_faults    what a person can see wrong in a radiograph or its label
    6      stress            how models do on disturbed radiographs
    6      localisation      how much of a heat map lies on the ossification regions
    6      tuning_space      which custom CNNs and rates a search looks at
    6      tuning_oracles    Keras Tuner's oracles with a budget, on disk
    6      tuning_trials     the trials of a search as a table
    6      tuning_workers    a chief and its workers
    6      tuning_loop       the trials, trained one after another
    6      tuning            Keras Tuner's search over custom CNNs
    6      meta_models       the ways to fit an ensemble
    6      members           what the members of an ensemble say, case by case
    6      ensembles         ensembles of saved models, cross-fitted where no member was trained
    6      region_ages       which regions a network looks at in the young, and which later
    6      feature_maps      the feature maps of a network, coarse and fine
    6      grad_cam          where a network looks, by a feature map and its gradient
    6      occlusion         what changes when a part of the picture is covered
    6      map_sanity        whether a heat map depends on what the network learnt
    6      faithfulness      whether the answer hangs on what a heat map marks
    6      map_measures      the heat maps of a network in figures
    6      shortcuts         whether a network leans on markers, field edges or background
    7      figures           one style; figures shown with alternative text
    7      plots_data        who is in the set, label rounding, grey levels
    7      plots_pictures    radiographs before and after each step
    7      score_tables      scores as tables and in words
    7      plots_scores      predicted against true, errors, confusion, learning
    7      plots_tuning      the trials of a search and what mattered in them
    7      plots_networks    a network as a diagram
    7      plots_ensembles   members, pairs of models, coverage of intervals
    7      plots_maps        heat maps over radiographs, and how far to trust them
    7      plots_shortcuts   markers, field edges and background, where they were found
    7      plots_bias        groups, agreement, disturbed radiographs
    7      bias_tables       scores of many models by group, to read
    7      bias_findings     what the errors by group show, in words
    7      plots_external    radiographs from elsewhere beside those of training
    7      plots_hog         what HOG sees and where the trees look
    7      parameters        a notebook's parameters and the files that set them
    7      profiles          folders of papermill parameter files, checked
    7      states            how each run of a run folder stands
    7      transcript        what a notebook printed, as HTML
    7      report            executed notebooks as pages
    7      score_cells       a score as the index shows it
    7      scoreboard        every model's scores beside the trivial predictors
    7      interval_board    how many cases intervals and sets hold, for the index
    7      card_tables       the tables of a model card
    7      model_card        the model card of a run folder
    7      index_page        the index of a run folder
    8      run_order         which runs wait for which
    8      reach             which rooms a notebook reaches
    8      keeper            one command that ends with its owner
    8      kernels           Jupyter kernels that end with their run
    8      batch             all runs of a profile, through Snakemake
    8      scoring           the run that scores another folder of radiographs
    8      options           the command line
    8      execute           one run, through papermill
"""
