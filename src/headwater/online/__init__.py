"""A read, top to bottom: reader, versions, request features, predictor, ranker."""
