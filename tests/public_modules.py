"""The modules whose names are public: what a reader of the documentation may import."""

NAMES = (
    *(
        "headwater",
        "headwater.client",
        "headwater.evaluation",
        "headwater.experiments",
        "headwater.operations",
    ),
    *("headwater_aws", "headwater_spark"),
)
