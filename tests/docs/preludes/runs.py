import headwater as hw
from tests.docs.shop import project_files

fraud = project_files()["fraud"]
hw.backtest(
    fraud,
    {"daily": hw.batch("1d"), "hourly": hw.batch("1h")},
    hw.Evaluation(refits=0, resamples=50),
)
