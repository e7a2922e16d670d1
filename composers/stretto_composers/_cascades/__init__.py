"""What cascades and their calibration share: tests of tiers, thresholds and their search."""
