import headwater as hw
from tests.docs.shop import project_files

names = project_files()
project = names["project"]
backtest = hw.backtest(
    names["fraud"],
    {"daily": hw.batch("1d"), "hourly": hw.batch("1h")},
    hw.Evaluation(refits=0, resamples=50),
)
