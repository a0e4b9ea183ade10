"""The demo: real flights from New York, from the raw table to a backtest."""
