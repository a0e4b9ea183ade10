import polars as pl

import headwater as hw
