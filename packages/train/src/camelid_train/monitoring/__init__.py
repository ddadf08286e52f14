"""Monitoring of a run: progress events, held-out loss, early stopping, sample answers, trackers, the NaN guard."""
