from datetime import datetime

import polars as pl

import headwater as hw
