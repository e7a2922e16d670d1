"""Where values live while a plan runs."""
