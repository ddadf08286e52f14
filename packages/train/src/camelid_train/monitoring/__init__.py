"""What is looked at while a model learns, and what ends a run: events, evaluations, samples, trackers, guards."""
