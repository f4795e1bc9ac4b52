"""What others published on bone age: figures to stand beside, never to be ranked with, one's own.

An error depends on whose labels it is measured against: the same model scores about two months
better against the mean of six raters than against one reader.
"""

import pandas as pd

OFFICIAL = "official test set: 200 cases, mean of six raters"
VALIDATION = "RSNA validation set: 1,425 cases, one reader"
HALABI = "Halabi et al., Radiology 2019;290:498-503"
FIGURES = (
    ("human raters, each against the mean of six", "4.8 to 7.0", OFFICIAL, HALABI),
    ("winner of the 2017 challenge: InceptionV3, 500 pixels", "4.27", OFFICIAL, HALABI),
    ("the same model", "6.8", VALIDATION, "16 Bit, its makers"),
    (
        "Deeplasia: three EfficientNets, 512 and 1,024 pixels",
        "3.87",
        OFFICIAL,
        "Pediatric Radiology, doi:10.1007/s00247-023-05789-1",
    ),
)


def ages() -> pd.DataFrame:
    """Mean absolute errors, months, a row a system: `months`, `measured on`, `source`."""
    columns = ["system", "months", "measured on", "source"]
    return pd.DataFrame(FIGURES, columns=columns).set_index("system")
