"""Table 1 as published: the 18 models of the study, and the test MSE of each on the ten data sets."""

from offprint.mgrn.experiments._forecast import Variant

TWO_GROUPS = (8, 8)
TOTAL_SPLIT = (1,) * 16
ALL = (16,)

FAMILIES = ("LSTM", "GRU", "CW two", "CW split", "mGRN two", "mGRN split")
"""Rows of the table: CW is the channel-wise LSTM; two groups, or every column by itself."""

VARIANTS = (
    Variant("LSTM", "lstm", ALL, 14),
    Variant("GRU", "gru", ALL, 17),
    *(Variant("CW two", "channelwise", TWO_GROUPS, *sizes) for sizes in ((5, 1), (4, 2), (3, 4), (2, 8))),
    *(Variant("CW split", "channelwise", TOTAL_SPLIT, *sizes) for sizes in ((3, 1), (2, 2), (2, 4), (2, 8))),
    *(Variant("mGRN two", "mgrn", TWO_GROUPS, *sizes) for sizes in ((10, 1), (8, 2), (6, 4), (3, 8))),
    *(Variant("mGRN split", "mgrn", TOTAL_SPLIT, *sizes) for sizes in ((4, 1), (4, 2), (3, 4), (2, 8))),
)

# Of the trial with the lowest validation loss, from the published accuracy sheets; data sets 1 to 10.
_ROWS = """
18.517 23.400 17.402 16.452 18.812 35.410 16.370 14.417 44.019 17.844
18.504 23.345 17.286 16.417 18.607 35.375 16.217 14.401 43.962 17.932
18.350 23.282 17.191 16.404 18.655 34.950 16.245 14.312 44.035 17.796
18.325 23.226 17.177 16.368 18.590 35.496 16.326 14.289 43.635 17.906
18.336 23.228 17.144 16.415 18.552 35.413 16.177 14.329 44.362 17.801
18.330 23.258 17.152 16.326 18.567 35.493 16.223 14.287 43.623 18.917
18.335 23.280 17.115 16.387 18.433 34.506 16.203 14.283 43.160 17.641
18.318 23.175 17.179 16.304 18.424 34.703 16.249 14.278 43.275 17.670
18.333 23.293 17.173 16.375 18.532 34.709 16.127 14.327 43.378 17.584
18.404 23.191 17.181 16.354 18.497 34.601 16.228 14.281 43.299 17.678
18.356 23.197 17.186 16.348 18.504 34.531 16.255 14.312 43.157 17.697
18.312 23.163 17.109 16.331 18.487 34.573 16.168 14.285 43.114 17.749
18.269 23.184 17.167 16.401 18.475 34.600 16.175 14.307 43.309 17.644
18.352 23.162 17.158 16.364 18.496 34.515 16.172 14.250 43.199 17.705
18.303 23.195 17.144 16.312 18.421 34.492 16.175 14.249 43.177 17.562
18.312 23.135 17.064 16.260 18.416 34.390 16.122 14.242 43.072 17.581
18.256 23.122 17.134 16.258 18.417 34.454 16.170 14.251 43.100 17.594
18.253 23.144 17.181 16.301 18.436 34.378 16.206 14.266 43.217 17.616
"""

TEST_MSE = {
    one.label: tuple(map(float, row.split())) for one, row in zip(VARIANTS, _ROWS.split("\n")[1:-1], strict=True)
}
"""Label of the model -> published test MSE on data sets 1 to 10."""

MEANS = {"LSTM": 22.26, "GRU": 22.20, "CW two": 22.06, "CW split": 21.93, "mGRN two": 21.91, "mGRN split": 21.88}
"""Family -> published mean test MSE, sizes and learning rate chosen by validation for each data set."""


def variant(label: str) -> Variant:
    """The model of that label.

    Raises:
        ValueError: there is none.
    """
    found = {one.label: one for one in VARIANTS}
    if label not in found:
        raise ValueError(f"unknown model {label!r}; the models are {', '.join(found)}")
    return found[label]
