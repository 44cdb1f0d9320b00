"""Faults with real processes: killed workers, lost messages, a database that restarts. ``make chaos`` runs them."""
