"""What is done with definitions: training data, and later materialisation, ingestion, parity."""
